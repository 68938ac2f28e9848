//! Counter-based random numbers: the same integers on every device, independent of the dispatch shape.
//!
//! Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). The counter is
//! (block, stream, step, 0), the key is the seed; only the step has to be saved.

use crate::numeric::scalar::Scalar;

/// One block of Philox4x32-10.
#[inline(always)]
pub fn philox(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
        }
        let p0 = 0xD251_1F53u64 * c[0] as u64;
        let p1 = 0xCD9E_8D57u64 * c[2] as u64;
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
    }
    c
}

/// The position of a run in its random streams.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The seed of the run.
    pub seed: u64,
    /// The step, from 0.
    pub step: u32,
}

impl Clock {
    /// Returns four words for block `block` of `stream` in this step.
    #[inline(always)]
    pub fn words(self, stream: u32, block: u32) -> [u32; 4] {
        philox([block, stream, self.step, 0], [self.seed as u32, (self.seed >> 32) as u32])
    }
}

/// A uniform integer in [0, n) from one word: the high half of word * n.
#[inline(always)]
pub fn below(word: u32, n: u32) -> u32 {
    ((word as u64 * n as u64) >> 32) as u32
}

/// Four standard normals from four words, by Box and Muller (1958): u = (word + 1/2) / 2^32,
/// r = sqrt(-2 ln u0), (r cos 2 pi u1, r sin 2 pi u1).
#[inline(always)]
pub fn normals<S: Scalar>(w: [u32; 4]) -> [S; 4] {
    let pair = |a: u32, b: u32| {
        let r = (S::of(-2.0) * S::ln_uniform(a)).sqrt();
        let (sin, cos) = S::sin_cos_turns(b);
        (r * cos, r * sin)
    };
    let ((a, b), (c, d)) = (pair(w[0], w[1]), pair(w[2], w[3]));
    [a, b, c, d]
}

/// Numbers determined by a seed and a position, generated on demand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Draw {
    pub distribution: Distribution,
    pub seed: u64,
    /// Two words that make draws with the same seed independent of each other.
    pub place: [u32; 2],
}

/// A distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Distribution {
    /// Uniform in +-limit.
    Uniform { limit: f32 },
    /// Standard normal.
    Normal,
}

impl Draw {
    /// The first `n` numbers.
    pub fn values(&self, n: usize) -> Vec<f32> {
        let Self { distribution, seed, place: [index, kind] } = *self;
        let block = |i: usize| {
            let words = philox([i as u32, index, 0, kind], [seed as u32, (seed >> 32) as u32]);
            match distribution {
                Distribution::Uniform { limit } => words.map(|word| ((word >> 8) as f32 / 8_388_608.0 - 1.0) * limit),
                Distribution::Normal => normals(words),
            }
        };
        (0..n.div_ceil(4)).flat_map(block).take(n).collect()
    }
}

/// Blocks generated together, so that the work vectorizes.
const TOGETHER: usize = 32;

/// out = the normals of blocks `first`, `first + 1`, ... of a stream; the last block may be truncated.
#[inline(always)]
pub fn fill_normals<S: Scalar>(clock: Clock, stream: u32, first: usize, out: &mut [S]) {
    for (i, part) in out.chunks_mut(4 * TOGETHER).enumerate() {
        let z = normals_together::<S>(clock, stream, (first + i * TOGETHER) as u32);
        let mut block = [S::ZERO; 4 * TOGETHER];
        for j in 0..TOGETHER {
            for lane in 0..4 {
                block[4 * j + lane] = z[lane][j];
            }
        }
        part.copy_from_slice(&block[..part.len()]);
    }
}

/// out = the normals of elements `first`, `first + 1`, ... of a stream: element e has number e % 4 of block e / 4.
#[inline(always)]
pub fn fill_normals_from<S: Scalar>(clock: Clock, stream: u32, first: usize, out: &mut [S]) {
    let (block, lane) = (first / 4, first % 4);
    if lane == 0 {
        return fill_normals(clock, stream, block, out);
    }
    let (head, rest) = out.split_at_mut(out.len().min(4 - lane));
    head.copy_from_slice(&normals(clock.words(stream, block as u32))[lane..lane + head.len()]);
    fill_normals(clock, stream, block + 1, rest);
}

/// Calls `f(i, word)` for the words of elements `first + i` of a stream, i < n: element e has word e % 4 of block e /
/// 4.
#[inline(always)]
pub fn each_word(clock: Clock, stream: u32, first: usize, n: usize, mut f: impl FnMut(usize, u32)) {
    let mut i = 0;
    while i < n {
        let (block, lane) = ((first + i) / 4, (first + i) % 4);
        let words = clock.words(stream, block as u32);
        for &word in &words[lane..4.min(lane + n - i)] {
            f(i, word);
            i += 1;
        }
    }
}

/// The four normals of each of [`TOGETHER`] blocks, by lane.
#[inline(always)]
fn normals_together<S: Scalar>(clock: Clock, stream: u32, first: u32) -> [[S; TOGETHER]; 4] {
    let mut c: [[u32; TOGETHER]; 4] = [[0; TOGETHER], [stream; TOGETHER], [clock.step; TOGETHER], [0; TOGETHER]];
    for j in 0..TOGETHER {
        c[0][j] = first.wrapping_add(j as u32);
    }
    let mut k = [clock.seed as u32, (clock.seed >> 32) as u32];
    for _ in 0..10 {
        for j in 0..TOGETHER {
            let (p0, p1) = (0xD251_1F53u64 * c[0][j] as u64, 0xCD9E_8D57u64 * c[2][j] as u64);
            c[0][j] = (p1 >> 32) as u32 ^ c[1][j] ^ k[0];
            c[1][j] = p1 as u32;
            c[2][j] = (p0 >> 32) as u32 ^ c[3][j] ^ k[1];
            c[3][j] = p0 as u32;
        }
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    let mut z = [[S::ZERO; TOGETHER]; 4];
    for pair in [0, 2] {
        for j in 0..TOGETHER {
            let r = (S::of(-2.0) * S::ln_uniform(c[pair][j])).sqrt();
            let (sin, cos) = S::sin_cos_turns(c[pair + 1][j]);
            z[pair][j] = r * cos;
            z[pair + 1][j] = r * sin;
        }
    }
    z
}

/// The element at `position` of a random permutation of 0..n, one permutation per (seed, epoch).
///
/// A Feistel network on the smallest power of two that holds n, iterated until the result is below n (Black and Rogaway
/// 2002, "Ciphers with arbitrary finite domains"): no table, so the device draws without replacement from a counter.
pub fn permuted(position: u32, n: u32, epoch: u32, stream: u32, seed: u64) -> u32 {
    let bits = (32 - (n - 1).leading_zeros()).max(2);
    let keys = philox([epoch, stream, 0, 1], [seed as u32, (seed >> 32) as u32]);
    let mut x = position;
    loop {
        x = feistel(x, bits, keys);
        if x < n {
            return x;
        }
    }
}

/// Six alternating rounds; the halves have `bits / 2` and the rest, and swap each round.
fn feistel(x: u32, bits: u32, keys: [u32; 4]) -> u32 {
    let (mut low_bits, mut high_bits) = (bits / 2, bits - bits / 2);
    let mut x = x;
    for round in 0..6 {
        let low = x & ((1 << low_bits) - 1);
        let high = x >> low_bits;
        let mixed = high ^ (mix(low ^ keys[round & 3].rotate_left(round as u32 * 5)) & ((1 << high_bits) - 1));
        // The half used as the input moves up, so that the next round changes it.
        x = (low << high_bits) | mixed;
        std::mem::swap(&mut low_bits, &mut high_bits);
    }
    x
}

/// An integer hash with full avalanche (Wellons' lowbias32 constants).
fn mix(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_matches_the_published_test_vectors() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let key = [0xa409_3822, 0x299f_31d0];
        assert_eq!(philox(pi, key), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn permutations_visit_everything_once_and_differ_by_epoch() {
        for n in [1u32, 2, 3, 7, 142, 1000, 4097] {
            let order = |epoch| (0..n).map(|i| permuted(i, n, epoch, 0, 7)).collect::<Vec<_>>();
            let mut seen = order(0);
            seen.sort_unstable();
            assert_eq!(seen, (0..n).collect::<Vec<_>>());
            if n > 100 {
                assert_ne!(order(0), order(1));
            }
        }
    }

    #[test]
    fn permutations_are_even() {
        // Each value lands at each position about equally often: chi-squared over 16 x 16 cells.
        let (n, epochs) = (16u32, 4_000u32);
        let mut counts = [[0f64; 16]; 16];
        for epoch in 0..epochs {
            for i in 0..n {
                counts[i as usize][permuted(i, n, epoch, 3, 99) as usize] += 1.0;
            }
        }
        let want = epochs as f64 / n as f64;
        let chi: f64 = counts.iter().flatten().map(|c| (c - want) * (c - want) / want).sum();
        // 225 degrees of freedom: mean 225, standard deviation 21; five of them.
        assert!(chi < 225.0 + 5.0 * 21.3, "{chi}");
    }

    #[test]
    fn normals_in_bulk_equal_those_drawn_one_by_one() {
        let clock = Clock { seed: 5 << 33 | 1, step: 3 };
        let mut together = vec![0f32; 203];
        fill_normals(clock, 7, 100, &mut together);
        let alone: Vec<f32> = (100..151).flat_map(|b| normals::<f32>(clock.words(7, b))).collect();
        assert_eq!(together, alone[..203]);
    }

    #[test]
    fn elements_draw_the_same_wherever_a_part_begins() {
        let clock = Clock { seed: 9, step: 2 };
        let mut all = vec![0f32; 300];
        fill_normals(clock, 7, 0, &mut all);
        for (first, n) in [(0, 5), (1, 1), (3, 1), (5, 140), (6, 2), (7, 293), (8, 8)] {
            let mut part = vec![0f32; n];
            fill_normals_from(clock, 7, first, &mut part);
            assert_eq!(part, all[first..first + n], "{first} {n}");
            let mut words = Vec::new();
            each_word(clock, 7, first, n, |i, word| words.push((i, word)));
            let word = |e: usize| clock.words(7, e as u32 / 4)[e % 4];
            assert!(words.into_iter().eq((0..n).map(|i| (i, word(first + i)))), "{first} {n}");
        }
    }

    #[test]
    fn normals_are_normal() {
        let clock = Clock { seed: 5, step: 3 };
        let z: Vec<f64> = (0..50_000).flat_map(|b| normals::<f64>(clock.words(1, b))).collect();
        let n = z.len() as f64;
        let mean = z.iter().sum::<f64>() / n;
        let var = z.iter().map(|v| v * v).sum::<f64>() / n;
        let fourth = z.iter().map(|v| v.powi(4)).sum::<f64>() / n;
        assert!(mean.abs() < 5.0 / n.sqrt() && (var - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
        assert!((fourth - 3.0).abs() < 5.0 * (96.0 / n).sqrt());
    }
}
