//! AMX instructions from their bytes.

/// An address in memory: `base + displacement`, and a row's stride, `index · scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The number of the base register, if there is one.
    pub base: Option<u8>,
    /// The number of the index register, if there is one, and its factor.
    pub index: Option<(u8, u8)>,
    /// Added to the base.
    pub displacement: i32,
    /// True if the address is relative to the next instruction.
    pub relative: bool,
}

/// An AMX instruction; tiles are numbers 0 to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// `ldtilecfg`
    LoadConfiguration(Address),
    /// `sttilecfg`
    StoreConfiguration(Address),
    /// `tilerelease`
    Release,
    /// `tilezero`
    Zero(u8),
    /// `tileloadd` and `tileloaddt1`
    Load(u8, Address),
    /// `tilestored`
    Store(Address, u8),
    /// `tdpbf16ps`
    DotBf16 {
        /// The tile of sums.
        sums: u8,
        /// The first factor: rows of pairs.
        a: u8,
        /// The second factor: pairs of columns.
        b: u8,
    },
}

/// Reads bytes one after the other.
struct Bytes<'a> {
    bytes: &'a [u8],
    next: usize,
}

impl Bytes<'_> {
    fn byte(&mut self) -> Result<u8, &'static str> {
        let byte = *self.bytes.get(self.next).ok_or("an instruction cut short")?;
        self.next += 1;
        Ok(byte)
    }

    fn displacement(&mut self, bytes: usize) -> Result<i32, &'static str> {
        let mut value = [0u8; 4];
        for byte in &mut value[..bytes] {
            *byte = self.byte()?;
        }
        let all = i32::from_le_bytes(value);
        Ok(if bytes == 1 { i32::from(value[0] as i8) } else { all })
    }
}

/// The instruction at the start of `bytes` and its length.
///
/// # Errors
/// What is wrong with it, if it is none of the instructions emulated.
pub fn decode(bytes: &[u8]) -> Result<(Instruction, usize), &'static str> {
    let mut bytes = Bytes { bytes, next: 0 };
    if bytes.byte()? != 0xc4 {
        return Err("no three-byte VEX prefix");
    }
    let (second, third) = (bytes.byte()?, bytes.byte()?);
    if second & 0x1f != 2 || third & 0x80 != 0 || third & 0x04 != 0 {
        return Err("no VEX.128.0F38.W0 instruction");
    }
    let (r, x, b) = (second & 0x80 == 0, second & 0x40 == 0, second & 0x20 == 0);
    let other = !(third >> 3) & 0xf;
    let (opcode, modrm) = (bytes.byte()?, bytes.byte()?);
    let (mode, reg, rm) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
    let registers = mode == 3;
    if opcode != 0x5c && other != 0 {
        return Err("an operand in VEX.vvvv");
    }
    if r || registers && (b || x) || other > 7 {
        return Err("a tile beyond tmm7");
    }
    let with_sib = !registers && rm == 4;
    let mut address = || -> Result<Address, &'static str> {
        let extend = |bit: bool, register: u8| register | u8::from(bit) << 3;
        let (mut base, mut index) = (Some(extend(b, rm)), None);
        let mut relative = false;
        let mut absolute = false;
        if with_sib {
            let sib = bytes.byte()?;
            let register = extend(x, sib >> 3 & 7);
            index = (register != 4).then_some((register, 1 << (sib >> 6)));
            base = Some(extend(b, sib & 7));
            if sib & 7 == 5 && mode == 0 {
                (base, absolute) = (None, true);
            }
        } else if rm == 5 && mode == 0 {
            (base, relative) = (None, true);
        }
        let displacement = match mode {
            1 => bytes.displacement(1)?,
            2 => bytes.displacement(4)?,
            _ if relative || absolute => bytes.displacement(4)?,
            _ => 0,
        };
        Ok(Address { base, index, displacement, relative })
    };
    // The prefix an opcode is told apart by: none, 66, F3, F2.
    let instruction = match (opcode, third & 3, registers) {
        (0x49, 0, false) if reg == 0 => Instruction::LoadConfiguration(address()?),
        (0x49, 1, false) if reg == 0 => Instruction::StoreConfiguration(address()?),
        (0x49, 0, true) if reg == 0 && rm == 0 => Instruction::Release,
        (0x49, 3, true) if rm == 0 => Instruction::Zero(reg),
        (0x4b, 1 | 3, false) if with_sib => Instruction::Load(reg, address()?),
        (0x4b, 2, false) if with_sib => Instruction::Store(address()?, reg),
        (0x4b, _, false) => return Err("a tile's address without SIB"),
        (0x5c, 2, true) => Instruction::DotBf16 { sums: reg, a: rm, b: other },
        _ => return Err("no AMX instruction that is emulated"),
    };
    Ok((instruction, bytes.next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(base: u8) -> Address {
        Address { base: Some(base), index: None, displacement: 0, relative: false }
    }

    /// Encodings as the LLVM assembler gives them.
    #[test]
    fn every_instruction_is_decoded() {
        let rows = |base, index, scale| Address { index: Some((index, scale)), ..at(base) };
        let cases: [(&[u8], Instruction); 15] = [
            // ldtilecfg [rdi]; [rcx + rdx*2]; [rip + 16]; [r9 - 8]
            (&[0xc4, 0xe2, 0x78, 0x49, 0x07], Instruction::LoadConfiguration(at(7))),
            (&[0xc4, 0xe2, 0x78, 0x49, 0x04, 0x51], Instruction::LoadConfiguration(rows(1, 2, 2))),
            (
                &[0xc4, 0xe2, 0x78, 0x49, 0x05, 16, 0, 0, 0],
                Instruction::LoadConfiguration(Address {
                    base: None,
                    index: None,
                    displacement: 16,
                    relative: true,
                }),
            ),
            (
                &[0xc4, 0xc2, 0x78, 0x49, 0x41, 0xf8],
                Instruction::LoadConfiguration(Address { displacement: -8, ..at(9) }),
            ),
            // sttilecfg [rsi]
            (&[0xc4, 0xe2, 0x79, 0x49, 0x06], Instruction::StoreConfiguration(at(6))),
            // tilerelease; tilezero tmm5
            (&[0xc4, 0xe2, 0x78, 0x49, 0xc0], Instruction::Release),
            (&[0xc4, 0xe2, 0x7b, 0x49, 0xe8], Instruction::Zero(5)),
            // tileloadd tmm5, [rcx + rdx]; tmm1, [rdi], no index; tmm7, [r15 + r12 + 64]; tmm3, [abs]
            (&[0xc4, 0xe2, 0x7b, 0x4b, 0x2c, 0x11], Instruction::Load(5, rows(1, 2, 1))),
            (&[0xc4, 0xe2, 0x7b, 0x4b, 0x0c, 0x27], Instruction::Load(1, at(7))),
            (
                &[0xc4, 0x82, 0x7b, 0x4b, 0x7c, 0x27, 0x40],
                Instruction::Load(7, Address { displacement: 64, ..rows(15, 12, 1) }),
            ),
            (
                &[0xc4, 0xe2, 0x7b, 0x4b, 0x1c, 0x25, 1, 0, 0, 0x80],
                Instruction::Load(3, Address { base: None, displacement: i32::MIN + 1, ..at(0) }),
            ),
            // tileloaddt1 tmm7, [rsi]
            (&[0xc4, 0xe2, 0x79, 0x4b, 0x3c, 0x26], Instruction::Load(7, at(6))),
            // tilestored [rcx + rdx*4 + 0x10000], tmm2; [rbp + rax], tmm0
            (
                &[0xc4, 0xe2, 0x7a, 0x4b, 0x94, 0x91, 0, 0, 1, 0],
                Instruction::Store(Address { displacement: 0x10000, ..rows(1, 2, 4) }, 2),
            ),
            (
                &[0xc4, 0xe2, 0x7a, 0x4b, 0x44, 0x05, 0],
                Instruction::Store(Address { base: Some(5), index: Some((0, 1)), ..at(0) }, 0),
            ),
            // tdpbf16ps tmm1, tmm4, tmm7
            (&[0xc4, 0xe2, 0x42, 0x5c, 0xcc], Instruction::DotBf16 { sums: 1, a: 4, b: 7 }),
        ];
        for (bytes, instruction) in cases {
            let mut longer = bytes.to_vec();
            longer.extend([0x90; 4]);
            assert_eq!(decode(&longer), Ok((instruction, bytes.len())), "{bytes:x?}");
            assert!(decode(&bytes[..bytes.len() - 1]).is_err());
        }
    }

    #[test]
    fn what_is_not_emulated_is_refused() {
        let cases: [&[u8]; 8] = [
            &[0x0f, 0x0b, 0, 0, 0],                // ud2
            &[0xc4, 0xe2, 0x43, 0x5e, 0xcc],       // tdpbssd
            &[0xc4, 0xe2, 0x43, 0x5c, 0xcc],       // tdpfp16ps
            &[0xc4, 0x62, 0x42, 0x5c, 0xcc],       // tmm9
            &[0xc4, 0xe2, 0x02, 0x5c, 0xcc],       // tmm15 as the third
            &[0xc4, 0xe2, 0x7b, 0x4b, 0x0f],       // tileloadd without SIB
            &[0xc4, 0xe2, 0xfb, 0x4b, 0x2c, 0x11], // W1
            &[0xc4, 0xe2, 0x7b, 0x49, 0xe9],       // tilezero with rm 1
        ];
        for bytes in cases {
            assert!(decode(bytes).is_err(), "{bytes:x?}");
        }
    }
}
