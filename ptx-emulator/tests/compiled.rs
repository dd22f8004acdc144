//! Kernels as NVRTC 12.0 compiled them (`fixtures/`), against host references.

use ptx_emulator::{Argument, Counters, Grid, Memory, Module};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const NETWORK: &str = include_str!("fixtures/network.ptx");
const GEMM: &str = include_str!("fixtures/gemm.ptx");

/// Numbers in [-1, 1), always the same.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

fn wide(x: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(x) << 16))
}

fn close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
    let error = found.iter().zip(expected).map(|(&x, y)| (f64::from(x) - y).powi(2)).sum::<f64>().sqrt();
    assert!(error <= tolerance * size.max(1e-30), "relative error {}", error / size);
}

/// Result, reference, counts.
type Product = (Vec<f32>, Vec<f64>, Counters);

fn gemm(m: usize, n: usize, k: usize, text: &str) -> Result<Product, Box<dyn std::error::Error>> {
    let mut memory = Memory::default();
    let module = Module::load(text, &mut memory)?;
    let a: Vec<u16> = numbers(m * k, 1).into_iter().map(bf16).collect();
    let b: Vec<u16> = numbers(k * n, 2).into_iter().map(bf16).collect();
    let (pa, pb) = (memory.upload(&a)?, memory.upload(&b)?);
    let pc = memory.allocate(m * n * 4)?;
    let (rows, columns) = (m.div_ceil(64) as u32, n.div_ceil(64) as u32);
    let grid = Grid { blocks: [columns, rows, 1], threads: [128, 1, 1], shared: 2 * (64 * 40 + 32 * 72) * 2 };
    let sizes = [m, n, k].map(|x| Argument::I32(x as i32));
    let arguments = [Argument::U64(pa), Argument::U64(pb), Argument::U64(pc), sizes[0], sizes[1], sizes[2]];
    let counters = module.launch("gemm_bf16", grid, &mut memory, &arguments)?;
    let expected =
        (0..m * n).map(|i| (0..k).map(|j| wide(a[i / n * k + j]) * wide(b[j * n + i % n])).sum()).collect();
    Ok((memory.download(pc, m * n)?, expected, counters))
}

#[test]
fn gemm_with_tensor_cores() -> Outcome {
    for (m, n, k) in [(64, 64, 32), (128, 64, 96), (70, 72, 40), (5, 8, 8)] {
        let (found, expected, counters) = gemm(m, n, k, GEMM)?;
        close(&found, &expected, 1e-6);
        assert!(counters.matrix_flops > 0 && counters.barriers > 0);
    }
    let (.., counters) = gemm(128, 128, 64, GEMM)?;
    assert_eq!(counters.matrix_flops, 2 * 128 * 128 * 64);
    // Rows of 40 and 72 elements put the eight rows of a matrix into different banks.
    assert_eq!(counters.loads.efficiency(), 1.0);
    assert!(counters.shared.wavefronts as f64 <= 1.3 * counters.shared.ideal as f64, "{counters}");
    Ok(())
}

#[test]
fn swapped_registers_give_a_wrong_result() -> Outcome {
    let mut swapped = String::new();
    for line in GEMM.lines() {
        match (line.trim_start().starts_with("mma"), line) {
            (true, line) => {
                // A's second and third register change places.
                let parts: Vec<&str> = line.split('{').collect();
                let a: Vec<&str> = parts[2].split([',', '}']).collect();
                let from = format!("{{{},{},{},{}}}", a[0], a[1], a[2], a[3]);
                let to = format!("{{{},{},{},{}}}", a[0], a[2], a[1], a[3]);
                assert!(line.contains(&from), "{line}");
                swapped += &line.replace(&from, &to);
            }
            (false, line) => swapped += line,
        }
        swapped.push('\n');
    }
    let (found, expected, _) = gemm(64, 64, 32, &swapped)?;
    let worst = found.iter().zip(&expected).map(|(&x, y)| (f64::from(x) - y).abs()).fold(0.0, f64::max);
    assert!(worst > 1.0, "swapped registers went unseen");
    Ok(())
}

#[test]
fn adam() -> Outcome {
    let mut memory = Memory::default();
    let module = Module::load(NETWORK, &mut memory)?;
    let count = 1000;
    let (p, g) = (numbers(count, 3), numbers(count, 4));
    let (m, v) = (numbers(count, 5), numbers(count, 6).into_iter().map(f32::abs).collect::<Vec<_>>());
    let places = [memory.upload(&p)?, memory.upload(&g)?, memory.upload(&m)?, memory.upload(&v)?];
    let (rate, beta1, beta2, epsilon, decay) = (1e-2f32, 0.9f32, 0.999f32, 1e-8f32, 1e-2f32);
    let mut arguments: Vec<Argument> = places.iter().map(|&p| Argument::U64(p)).collect();
    arguments.push(Argument::I32(count as i32));
    arguments.extend([rate, beta1, beta2, epsilon, decay].map(Argument::F32));
    arguments.push(Argument::I32(3));
    let counters = module.launch("adam", Grid::line(4, 256), &mut memory, &arguments)?;
    let expected: Vec<f64> = (0..count)
        .map(|i| {
            let [p, g, m, v] = [p[i], g[i], m[i], v[i]].map(f64::from);
            let [rate, beta1, beta2, epsilon, decay] = [rate, beta1, beta2, epsilon, decay].map(f64::from);
            let (m, v) = (beta1 * m + (1.0 - beta1) * g, beta2 * v + (1.0 - beta2) * g * g);
            let (c1, c2) = (1.0 - beta1.powi(3), 1.0 - beta2.powi(3));
            p - rate * (m / c1 / ((v / c2).sqrt() + epsilon) + decay * p)
        })
        .collect();
    close(&memory.download(places[0], count)?, &expected, 1e-6);
    assert_eq!(counters.loads.efficiency(), 1.0);
    assert_eq!(counters.divergences, 1, "the last warp is partly outside");
    assert_eq!(memory.touched(), [4 * 4000, 3 * 4000], "p, g, m, v read; p, m, v written");
    Ok(())
}

#[test]
fn sums_of_rows_by_shuffles() -> Outcome {
    let mut memory = Memory::default();
    let module = Module::load(NETWORK, &mut memory)?;
    let (rows, columns) = (3, 700);
    let x = numbers(rows * columns, 7);
    let (px, ps) = (memory.upload(&x)?, memory.allocate(rows * 8)?);
    let arguments = [Argument::U64(px), Argument::U64(ps), Argument::I32(columns as i32)];
    module.launch("row_sums", Grid::line(rows as u32, 128), &mut memory, &arguments)?;
    for (row, sum) in memory.download::<f64>(ps, rows)?.into_iter().enumerate() {
        let expected: f64 = x[row * columns..(row + 1) * columns].iter().map(|&v| f64::from(v)).sum();
        assert!((sum - expected).abs() < 1e-10, "{sum} {expected}");
    }
    Ok(())
}

#[test]
fn softmax_and_cross_entropy() -> Outcome {
    let mut memory = Memory::default();
    let module = Module::load(NETWORK, &mut memory)?;
    let (rows, classes) = (9, 45);
    let x: Vec<f32> = numbers(rows * classes, 8).into_iter().map(|v| 5.0 * v).collect();
    let labels: Vec<i32> = (0..rows as i32).map(|r| r * 5 % classes as i32).collect();
    let (px, pl, pe) = (memory.upload(&x)?, memory.upload(&labels)?, memory.upload(&[0f32])?);
    let py = memory.allocate(rows * classes * 4)?;
    let mut arguments: Vec<Argument> = [px, pl, py, pe].into_iter().map(Argument::U64).collect();
    arguments.extend([Argument::I32(rows as i32), Argument::I32(classes as i32)]);
    module.launch("softmax", Grid::line(3, 96), &mut memory, &arguments)?;
    let (mut expected, mut loss) = (Vec::new(), 0.0);
    for (row, &label) in x.chunks(classes).zip(&labels) {
        let sum: f64 = row.iter().map(|&v| f64::from(v).exp()).sum();
        expected.extend(row.iter().map(|&v| f64::from(v).exp() / sum));
        loss += sum.ln() - f64::from(row[label as usize]);
    }
    close(&memory.download(py, rows * classes)?, &expected, 1e-6);
    close(&memory.download(pe, 1)?, &[loss], 1e-6);
    Ok(())
}

#[test]
fn constants_and_variables_of_the_module() -> Outcome {
    let mut memory = Memory::default();
    let module = Module::load(NETWORK, &mut memory)?;
    let x = numbers(100, 9);
    let (px, py) = (memory.upload(&x)?, memory.allocate(400)?);
    let arguments = [Argument::U64(px), Argument::U64(py), Argument::I32(100)];
    module.launch("blur", Grid::line(4, 32), &mut memory, &arguments)?;
    let expected: Vec<f64> = (0..100i32)
        .map(|i| {
            let at = |k: i32| f64::from(x[(i + k).clamp(0, 99) as usize]);
            0.0625 * (at(-2) + at(2)) + 0.25 * (at(-1) + at(1)) + 0.375 * at(0)
        })
        .collect();
    close(&memory.download(py, 100)?, &expected, 1e-6);
    let (launches, size) = module.variable("launches").ok_or("no variable")?;
    assert_eq!((memory.download::<u32>(launches, 1)?[0], size), (4, 4));
    Ok(())
}

#[test]
fn direct_convolution() -> Outcome {
    let mut memory = Memory::default();
    let module = Module::load(NETWORK, &mut memory)?;
    let (d, h, w, ci, co) = (3usize, 4usize, 5usize, 4usize, 8usize);
    let (x, k) = (numbers(d * h * w * ci, 10), numbers(27 * ci * co, 11));
    let (px, pk, py) = (memory.upload(&x)?, memory.upload(&k)?, memory.allocate(d * h * w * co * 4)?);
    let mut arguments: Vec<Argument> = [px, pk, py].into_iter().map(Argument::U64).collect();
    arguments.extend([d, h, w, ci, co].map(|n| Argument::I32(n as i32)));
    let threads = [co as u32 / 4, w as u32, 1];
    let grid = Grid { blocks: [h as u32, d as u32, 1], threads, shared: (w + 2) * ci * 4 };
    module.launch("conv3", grid, &mut memory, &arguments)?;
    let mut expected = vec![0.0; d * h * w * co];
    for (i, sum) in expected.iter_mut().enumerate() {
        let (z, y, xx, o) = (i / (h * w * co), i / (w * co) % h, i / co % w, i % co);
        for t in 0..27 {
            let inside = |at: usize, by: usize, end: usize| (at + by).checked_sub(1).filter(|&v| v < end);
            let (Some(z), Some(y), Some(xx)) =
                (inside(z, t / 9, d), inside(y, t / 3 % 3, h), inside(xx, t % 3, w))
            else {
                continue;
            };
            for c in 0..ci {
                *sum += f64::from(x[((z * h + y) * w + xx) * ci + c]) * f64::from(k[(t * ci + c) * co + o]);
            }
        }
    }
    close(&memory.download(py, expected.len())?, &expected, 1e-6);
    Ok(())
}

#[test]
fn library_functions_and_local_arrays() -> Outcome {
    let mut memory = Memory::default();
    let module = Module::load(NETWORK, &mut memory)?;
    let mut x: Vec<f32> = numbers(60, 12).into_iter().map(|v| 8.0 * v).collect();
    // Arguments that need the long reduction of sine and cosine.
    x.extend([1e6, -123456.79, 0.0, 3.5]);
    let count = x.len();
    let (px, py) = (memory.upload(&x)?, memory.allocate(count * 32)?);
    let arguments = [Argument::U64(px), Argument::U64(py), Argument::I32(count as i32)];
    module.launch("functions", Grid::line(1, 64), &mut memory, &arguments)?;
    let y = memory.download::<f32>(py, count * 8)?;
    for (i, &v) in x.iter().enumerate() {
        let (d, row) = (f64::from(v), &y[i * 8..i * 8 + 8]);
        let list = (0..16).find(|k| (k * 5 + i) & 15 == v.abs() as usize & 15).ok_or("no place")?;
        let last = match i % 7 {
            0 => d.floor(),
            1 => d.ceil(),
            2 => d.round_ties_even(),
            3 => d.trunc(),
            4 => d * 0.5,
            5 => d % 1.5,
            _ => 1.0 / (d.abs() + 1.0).sqrt(),
        };
        let expected = [
            d.tanh(),
            d.sin() + d.cos(),
            f64::from(v.exp()),
            (d.abs() + 1.0).ln(),
            f64::NAN,
            d * list as f64,
            1.0 / (1.0 + (-d).exp()),
            last,
        ];
        for (column, (&found, expected)) in row.iter().zip(expected).enumerate() {
            if column == 4 {
                let bound = if v.abs() > 4.0 { 1e-6 } else { 1.0 };
                assert!((found.abs() - 1.0).abs() <= bound && (found == 0.0 || found.signum() == v.signum()));
                continue;
            }
            let error = (f64::from(found) - expected).abs();
            let same = f64::from(found) == expected;
            assert!(
                same || error <= 3e-6 * expected.abs().max(1e-2),
                "f{column}({v}) = {found}, expected {expected}"
            );
        }
    }
    // The error function at points that tables give.
    let (px, py) = (memory.upload(&[0.5f32, 1.0, -2.0])?, memory.allocate(96)?);
    module.launch(
        "functions",
        Grid::line(1, 32),
        &mut memory,
        &[Argument::U64(px), Argument::U64(py), Argument::I32(3)],
    )?;
    let y = memory.download::<f32>(py, 24)?;
    close(&[y[4], y[12], y[20]], &[0.520_499_877_8, 0.842_700_792_9, -0.995_322_265], 1e-6);
    Ok(())
}

#[test]
fn divergent_loops_and_calls() -> Outcome {
    let mut memory = Memory::default();
    let module = Module::load(NETWORK, &mut memory)?;
    let py = memory.allocate(400)?;
    let arguments = [Argument::U64(py), Argument::I32(100)];
    let counters = module.launch("steps", Grid::line(1, 128), &mut memory, &arguments)?;
    let collatz = |mut n: u32| {
        let mut steps = 0;
        while n != 1 {
            n = if n % 2 == 1 { 3 * n + 1 } else { n / 2 };
            steps += 1;
        }
        steps
    };
    let expected: Vec<i32> =
        (0..100u32).map(|i| collatz(i + 1) + if i > 50 { collatz(i * 3) } else { 0 }).collect();
    assert_eq!(memory.download::<i32>(py, 100)?, expected);
    assert!(counters.divergences > 10);
    Ok(())
}
