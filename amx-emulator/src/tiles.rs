//! The tile registers of a thread and what instructions do to them.

use crate::decode::{Address, Instruction};

const TILES: usize = 8;
const ROWS: usize = 16;
const ROW_BYTES: usize = 64;

/// The tile registers of one thread.
#[derive(Clone)]
pub struct Tiles {
    /// Rows and bytes a row of each tile; `None` before a configuration and after a release.
    extents: Option<[(usize, usize); TILES]>,
    data: [[[u8; ROW_BYTES]; ROWS]; TILES],
}

type Check<T = ()> = Result<T, &'static str>;

impl Default for Tiles {
    fn default() -> Self {
        Self::new()
    }
}

impl Tiles {
    /// Tiles without a configuration.
    pub const fn new() -> Self {
        Self { extents: None, data: [[[0; ROW_BYTES]; ROWS]; TILES] }
    }

    /// Does what an instruction does; `registers` by their number, `next` the next instruction's address.
    ///
    /// # Errors
    /// Why the processor would refuse it. Tiles may have changed by then.
    ///
    /// # Safety
    /// The memory the instruction reads or writes is there to be read or written.
    pub unsafe fn execute(&mut self, instruction: Instruction, registers: &[u64; 16], next: u64) -> Check {
        let start = |address: Address| {
            let base = if address.relative { next } else { 0 };
            let base = address.base.map_or(base, |register| registers[register as usize]);
            base.wrapping_add(address.displacement as u64)
        };
        let stride = |address: Address| {
            address
                .index
                .map_or(0, |(register, scale)| registers[register as usize].wrapping_mul(scale.into()))
        };
        match instruction {
            Instruction::LoadConfiguration(address) => {
                let from = start(address).wrapping_add(stride(address));
                // SAFETY: the caller's contract.
                self.configure(&unsafe { (from as *const [u8; 64]).read_unaligned() })
            }
            Instruction::StoreConfiguration(address) => {
                let to = start(address).wrapping_add(stride(address));
                // SAFETY: the caller's contract.
                unsafe { (to as *mut [u8; 64]).write_unaligned(self.configuration()) };
                Ok(())
            }
            Instruction::Release => {
                *self = Self::new();
                Ok(())
            }
            Instruction::Zero(tile) => {
                self.tile(tile)?;
                self.data[tile as usize] = [[0; ROW_BYTES]; ROWS];
                Ok(())
            }
            Instruction::Load(tile, address) => {
                let (rows, bytes) = self.tile(tile)?;
                self.data[tile as usize] = [[0; ROW_BYTES]; ROWS];
                let mut from = start(address);
                for row in &mut self.data[tile as usize][..rows] {
                    // SAFETY: the caller's contract: `bytes` bytes of each row are readable.
                    unsafe { std::ptr::copy_nonoverlapping(from as *const u8, row.as_mut_ptr(), bytes) };
                    from = from.wrapping_add(stride(address));
                }
                Ok(())
            }
            Instruction::Store(address, tile) => {
                let (rows, bytes) = self.tile(tile)?;
                let mut to = start(address);
                for row in &self.data[tile as usize][..rows] {
                    // SAFETY: the caller's contract: `bytes` bytes of each row are writable.
                    unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), to as *mut u8, bytes) };
                    to = to.wrapping_add(stride(address));
                }
                Ok(())
            }
            Instruction::DotBf16 { sums, a, b } => self.dot_bf16(sums, a, b),
        }
    }

    fn configure(&mut self, bytes: &[u8; 64]) -> Check {
        match bytes[0] {
            0 => {
                *self = Self::new();
                return Ok(());
            }
            1 => {}
            _ => return Err("a palette other than 0 and 1"),
        }
        if bytes[1] != 0 {
            return Err("a start_row other than 0");
        }
        if bytes[2..16].iter().chain(&bytes[32..48]).chain(&bytes[56..]).any(|&byte| byte != 0) {
            return Err("reserved bytes of the configuration that are not 0");
        }
        let mut extents = [(0, 0); TILES];
        for (tile, extents) in extents.iter_mut().enumerate() {
            let row_bytes = u16::from_le_bytes([bytes[16 + 2 * tile], bytes[17 + 2 * tile]]) as usize;
            let rows = bytes[48 + tile] as usize;
            if rows > ROWS || row_bytes > ROW_BYTES || (rows == 0) != (row_bytes == 0) {
                return Err("rows or bytes a row beyond what a tile has, or only one of them 0");
            }
            *extents = (rows, row_bytes);
        }
        *self = Self { extents: Some(extents), ..Self::new() };
        Ok(())
    }

    fn configuration(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        if let Some(extents) = self.extents {
            bytes[0] = 1;
            for (tile, (rows, row_bytes)) in extents.into_iter().enumerate() {
                bytes[16 + 2 * tile..][..2].copy_from_slice(&(row_bytes as u16).to_le_bytes());
                bytes[48 + tile] = rows as u8;
            }
        }
        bytes
    }

    /// Rows and bytes a row of a tile in use.
    fn tile(&self, tile: u8) -> Check<(usize, usize)> {
        let extents = self.extents.ok_or("tiles that are not configured")?[tile as usize];
        if extents.0 == 0 { Err("a tile without rows") } else { Ok(extents) }
    }

    fn dot_bf16(&mut self, sums: u8, a: u8, b: u8) -> Check {
        if sums == a || sums == b || a == b {
            return Err("one tile as two operands");
        }
        let (of_sums, of_a, of_b) = (self.tile(sums)?, self.tile(a)?, self.tile(b)?);
        if of_sums.1 % 4 != 0 || of_a.1 % 4 != 0 {
            return Err("a row that is not of whole pairs");
        }
        if of_sums != (of_a.0, of_b.1) || of_a.1 / 4 != of_b.0 {
            return Err("tiles whose extents do not fit each other");
        }
        let (a, b) = (&self.data[a as usize], &self.data[b as usize]);
        let (rows, pairs) = (of_a.0, of_a.1 / 4);
        let mut result = [[0; ROW_BYTES]; ROWS];
        for row in 0..rows {
            let start = &self.data[sums as usize][row];
            // SAFETY: emulation is installed on machines with FMA alone.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                row_of_products(&a[row], &b[..pairs], start, &mut result[row]);
            }
            #[cfg(not(target_arch = "x86_64"))]
            products(&a[row], &b[..pairs], start, &mut result[row]);
        }
        for row in &mut result[..rows] {
            row[of_sums.1..].fill(0);
        }
        self.data[sums as usize] = result;
        Ok(())
    }
}

/// # Safety
/// The machine has FMA and AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "fma,avx2")]
unsafe fn row_of_products(a: &[u8; 64], b: &[[u8; 64]], start: &[u8; 64], to: &mut [u8; 64]) {
    products(a, b, start, to);
}

/// One row of `tdpbf16ps`: sums of the even and of the odd products, fused, then both and the old sum.
#[inline(always)]
fn products(a: &[u8; 64], b: &[[u8; 64]], start: &[u8; 64], to: &mut [u8; 64]) {
    let mut even = [0.0f32; 16];
    let mut odd = [0.0f32; 16];
    for (pair, row) in b.iter().enumerate() {
        let (a0, a1) = (bf16(a, 2 * pair), bf16(a, 2 * pair + 1));
        for n in 0..16 {
            even[n] = flush(a0.mul_add(bf16(row, 2 * n), even[n]));
            odd[n] = flush(a1.mul_add(bf16(row, 2 * n + 1), odd[n]));
        }
    }
    for n in 0..16 {
        let old = flush(f32::from_le_bytes(std::array::from_fn(|byte| start[4 * n + byte])));
        let sum = flush(old + flush(even[n] + odd[n]));
        to[4 * n..4 * n + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A value of a row, denormals as zero.
#[inline(always)]
fn bf16(row: &[u8; 64], place: usize) -> f32 {
    flush(f32::from_bits(u32::from(u16::from_le_bytes([row[2 * place], row[2 * place + 1]])) << 16))
}

/// Zero for a denormal, with its sign.
#[inline(always)]
fn flush(value: f32) -> f32 {
    if value.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(value) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pointer: *const u8, index: Option<(u8, u8)>) -> (Address, [u64; 16]) {
        let mut registers = [0; 16];
        registers[1] = pointer as u64;
        registers[2] = 64;
        (Address { base: Some(1), index, displacement: 0, relative: false }, registers)
    }

    fn configured(rows: [u8; 8], bytes: [u8; 8]) -> (Tiles, Check) {
        let mut configuration = [0u8; 64];
        configuration[0] = 1;
        for tile in 0..8 {
            configuration[16 + 2 * tile] = bytes[tile];
            configuration[48 + tile] = rows[tile];
        }
        let mut tiles = Tiles::new();
        let (address, registers) = at(configuration.as_ptr(), None);
        // SAFETY: the configuration has 64 bytes.
        let result = unsafe { tiles.execute(Instruction::LoadConfiguration(address), &registers, 0) };
        let mut back = [0xffu8; 64];
        let (address, registers) = at(back.as_mut_ptr(), None);
        // SAFETY: as above.
        unsafe { tiles.execute(Instruction::StoreConfiguration(address), &registers, 0) }.unwrap();
        assert_eq!(back, if result.is_ok() { configuration } else { [0; 64] });
        (tiles, result)
    }

    #[test]
    fn configurations_are_checked() {
        assert!(configured([16; 8], [64; 8]).1.is_ok());
        assert!(configured([17; 8], [64; 8]).1.is_err());
        assert!(configured([16; 8], [65; 8]).1.is_err());
        assert!(configured([0; 8], [64; 8]).1.is_err());
        assert!(Tiles::new().tile(0).is_err());
    }

    #[test]
    fn products_are_those_of_the_manual() {
        // Sums 3 × 5, a 3 × 4 pairs, b 4 pairs × 5.
        let (mut tiles, result) = configured([3, 3, 4, 0, 0, 0, 0, 16], [20, 16, 20, 0, 0, 0, 0, 64]);
        result.unwrap();
        let value = |seed: usize| ((seed * 37 % 23) as f32 - 11.0) / 8.0;
        let half = |value: f32| (value.to_bits() >> 16) as u16;
        let fill = |salt: usize| -> Vec<u8> {
            (0..16 * 32).flat_map(|i| half(value(i + salt)).to_le_bytes()).collect()
        };
        let (a, b) = (fill(1), fill(1_000));
        let start: Vec<u8> = (0..16 * 16).flat_map(|i| value(i + 7).to_le_bytes()).collect();
        for (tile, bytes) in [(0, &start), (1, &a), (2, &b)] {
            let (address, registers) = at(bytes.as_ptr(), Some((2, 1)));
            // SAFETY: 16 rows of 64 bytes.
            unsafe { tiles.execute(Instruction::Load(tile, address), &registers, 0) }.unwrap();
        }
        let dot = Instruction::DotBf16 { sums: 0, a: 1, b: 2 };
        // SAFETY: no memory is touched.
        unsafe { tiles.execute(dot, &[0; 16], 0) }.unwrap();
        let mut out = vec![0xffu8; 1024];
        let (address, registers) = at(out.as_mut_ptr(), Some((2, 1)));
        // SAFETY: 16 rows of 64 bytes.
        unsafe { tiles.execute(Instruction::Store(address, 0), &registers, 0) }.unwrap();
        for m in 0..3 {
            for n in 0..5 {
                let at = |i: usize, salt: usize| value(i + salt);
                let wanted: f32 = at(m * 16 + n, 7)
                    + (0..8).map(|k| at(m * 32 + k, 1) * at(k / 2 * 32 + 2 * n + k % 2, 1_000)).sum::<f32>();
                let bytes: [u8; 4] = out[m * 64 + 4 * n..][..4].try_into().unwrap();
                assert_eq!(f32::from_le_bytes(bytes), wanted, "{m} {n}");
            }
        }
        // Only what is configured is stored.
        assert!(out[20..64].iter().chain(&out[192..]).all(|&byte| byte == 0xff));
        for (sums, a, b) in [(0, 0, 2), (0, 1, 1), (0, 2, 1), (3, 1, 2), (7, 1, 2)] {
            // SAFETY: no memory is touched.
            assert!(unsafe { tiles.execute(Instruction::DotBf16 { sums, a, b }, &[0; 16], 0) }.is_err());
        }
    }

    #[test]
    fn denormals_are_zero_and_nan_stays() {
        let mut to = [0; 64];
        let pair = |a: f32, b: f32| {
            let mut row = [0u8; 64];
            row[..2].copy_from_slice(&((a.to_bits() >> 16) as u16).to_le_bytes());
            row[2..4].copy_from_slice(&((b.to_bits() >> 16) as u16).to_le_bytes());
            row
        };
        let first = |to: &[u8; 64]| f32::from_le_bytes([to[0], to[1], to[2], to[3]]);
        products(&pair(1.0e-39, 0.0), &[pair(1.0e10, 0.0)], &[0; 64], &mut to);
        assert_eq!(first(&to), 0.0);
        products(&pair(1.0e-30, 0.0), &[pair(1.0e-9, 0.0)], &[0; 64], &mut to);
        assert_eq!(first(&to), 0.0);
        products(&pair(f32::INFINITY, 1.0), &[pair(0.0, 1.0)], &[0; 64], &mut to);
        assert!(first(&to).is_nan());
    }
}
