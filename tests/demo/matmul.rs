//! The demo's numeric program: multiplies two matrices of f32 for about a second, and says how fast and which build it is.
//! One source for every entry of the index; only `-C target-cpu` differs, and the compiler vectorises the inner loop.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rows and columns. All three matrices together take 3 MiB.
const N: usize = 512;
/// Row by row. The size is part of the type, so the compiler can leave out checks of bounds.
type Matrix = [f32; N * N];
/// The tile of the result that is kept in registers: rows and columns.
const ROWS: usize = 4;
const COLUMNS: usize = 32;

/// `a * b + c`, as one instruction where the build's target has it: without it, `mul_add` would be a slow call.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

#[inline(never)]
fn multiply(a: &Matrix, b: &Matrix, c: &mut Matrix) {
    for i in (0..N).step_by(ROWS) {
        for j in (0..N).step_by(COLUMNS) {
            let mut tile = [[0_f32; COLUMNS]; ROWS];
            for k in 0..N {
                let row: &[f32; COLUMNS] = b[k * N + j..k * N + j + COLUMNS].try_into().expect("a whole row");
                for r in 0..ROWS {
                    let x = a[(i + r) * N + k];
                    for l in 0..COLUMNS {
                        tile[r][l] = multiply_add(x, row[l], tile[r][l]);
                    }
                }
            }
            for r in 0..ROWS {
                c[(i + r) * N + j..(i + r) * N + j + COLUMNS].copy_from_slice(&tile[r]);
            }
        }
    }
}

/// Small whole numbers below `limit`.
fn matrix(limit: usize) -> Box<Matrix> {
    let numbers: Vec<f32> = (0..N * N).map(|i| (i % limit) as f32).collect();
    numbers.into_boxed_slice().try_into().expect("N times N numbers")
}

fn main() {
    // The sums stay exact in f32: every build has to come to the same one.
    let (a, b, mut c) = (matrix(7), matrix(5), matrix(1));
    // The first pass is not measured: it faults the pages in.
    multiply(&a, &b, &mut c);
    // The fastest pass counts: whatever else runs on the machine only makes passes slower.
    let (started, mut fastest) = (Instant::now(), Duration::MAX);
    while started.elapsed() < Duration::from_secs(1) {
        let pass = Instant::now();
        multiply(black_box(&a), black_box(&b), &mut c);
        fastest = fastest.min(pass.elapsed());
    }
    let speed = 2.0 * (N * N * N) as f64 / fastest.as_secs_f64() / 1e9;
    let sum: f64 = black_box(&c).iter().map(|x| f64::from(*x)).sum();
    println!("build={} gflops={speed:.1} sum={sum}", env!("DEMO_BUILD"));
}
