//! The variants of the matrix product kernel, and the rule that selects one.

use super::Product;
use crate::kernel::{GemmVariant, Target};

/// Multiply-adds above which a product is worth the seconds that software adapters need to compile the largest kernel.
pub(crate) const LARGE: usize = 1 << 25;
/// Smallest m, n and k for which tiles of cooperative matrices are efficient.
const LEAST_COOPERATIVE: usize = 16;
/// Workgroups needed to occupy a small and a large adapter.
const BUSY: [usize; 2] = [64, 256];

impl GemmVariant {
    /// The variant for a product on an adapter, followed by other candidates that may be faster.
    pub(super) fn choose(product: &Product, target: &Target) -> Vec<Self> {
        if let Some(forced) = target.gemm.filter(|f| f.runs_on(target)) {
            return vec![forced];
        }
        let [m, n, k] = product.shape;
        if m.min(n).min(k) >= LEAST_COOPERATIVE && Self::Cooperative.runs_on(target) {
            return vec![Self::Cooperative];
        }
        match (target.software, Self::Broadcast16.runs_on(target)) {
            // No autotuning here: it would cost the compilation time that the rule saves.
            (true, true) if m * n * k >= LARGE => vec![Self::Broadcast32],
            (true, true) => vec![Self::Broadcast16],
            (true, false) => vec![Self::Registers],
            (false, _) => Self::tiles(product),
        }
    }

    /// The largest tiles whose grid occupies a large adapter and wastes little work beyond the edges. The number of
    /// workgroups needed differs between adapters, so the largest tiles that occupy a small one may be faster.
    fn tiles(product: &Product) -> Vec<Self> {
        let [m, n, _] = product.shape;
        let tiles = |side: usize| m.div_ceil(side) * n.div_ceil(side);
        let area = |side: usize| tiles(side) * side * side;
        let largest = |least: usize| {
            let fits = |side: usize| tiles(side) * product.slices >= least && 4 * area(side) <= 5 * area(32);
            match (fits(128), fits(64)) {
                (true, _) => Self::Blocked128,
                (_, true) => Self::Blocked64,
                _ => Self::Blocked32,
            }
        };
        let [small, large] = BUSY.map(largest);
        if large == small { vec![large] } else { vec![large, small] }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Operand;
    use super::*;

    fn variants(shape: [usize; 3], slices: usize, target: Target) -> Vec<GemmVariant> {
        GemmVariant::choose(&Product { shape, slices, a: Operand::INNER, b: Operand::INNER }, &target)
    }

    fn variant(shape: [usize; 3], slices: usize, target: Target) -> GemmVariant {
        variants(shape, slices, target)[0]
    }

    #[test]
    fn tiles_fit_the_grid() {
        let hardware = Target { subgroup: Some(32), ..Target::default() };
        assert_eq!(variant([4096, 4096, 64], 1, hardware), GemmVariant::Blocked128);
        assert_eq!(variant([1024, 1024, 1024], 1, hardware), GemmVariant::Blocked64);
        assert_eq!(variant([256, 1024, 1024], 1, hardware), GemmVariant::Blocked32);
        // 100 rows pad a tile of 128 no more than four of 32; 32 rows would leave three quarters of it idle.
        assert_eq!(variant([100, 100_000, 64], 1, hardware), GemmVariant::Blocked128);
        assert_eq!(variant([32, 100_000, 64], 1, hardware), GemmVariant::Blocked32);
        assert_eq!(variant([64, 64, 4096], 256, hardware), GemmVariant::Blocked64);
    }

    #[test]
    fn candidates_are_tried_where_a_small_adapter_is_occupied_by_larger_tiles() {
        use GemmVariant::{Blocked32, Blocked64, Blocked128};
        let hardware = Target { subgroup: Some(32), ..Target::default() };
        let unsure = |shape, target| variants(shape, 1, target).len() > 1;
        assert_eq!(variants([1024, 1024, 64], 1, hardware), [Blocked64, Blocked128]);
        assert_eq!(variants([512, 512, 64], 1, hardware), [Blocked32, Blocked64]);
        assert!(!unsure([2048, 2048, 64], hardware) && !unsure([256, 256, 64], hardware));
        assert!(!unsure([1024, 1024, 64], Target { software: true, ..hardware }));
        assert!(!unsure([1024, 1024, 64], Target { gemm: Some(Blocked64), ..hardware }));
    }

    #[test]
    fn cooperative_matrices_are_used_where_enabled_and_efficient() {
        let half = Target { subgroup: Some(32), half: Some(16), ..Target::default() };
        assert_eq!(variants([256, 128, 228], 1, half), [GemmVariant::Cooperative]);
        assert_eq!(variant([256, 128, 9], 1, half), GemmVariant::Blocked32);
        assert_eq!(variant([256, 128, 228], 1, Target { subgroup: None, ..half }), GemmVariant::Blocked32);
        assert_eq!(Operand::INNER.gradient(250).scale, 4096.0);
    }

    #[test]
    fn software_uses_registers_and_a_forced_variant_is_used() {
        let software = Target { subgroup: Some(8), software: true, ..Target::default() };
        assert_eq!(variant([256, 128, 228], 1, software), GemmVariant::Broadcast16);
        assert_eq!(variant([1024, 1024, 1024], 1, software), GemmVariant::Broadcast32);
        let plain = Target { subgroup: None, ..software };
        assert_eq!(variant([256, 128, 228], 1, plain), GemmVariant::Registers);
        assert_eq!(variant([256, 128, 228], 1, Target { subgroup: Some(32), ..software }), GemmVariant::Registers);
        for forced in GemmVariant::ALL.into_iter().filter(|f| f.runs_on(&software)) {
            assert_eq!(variant([5, 6, 7], 1, Target { gemm: Some(forced), ..software }), forced);
        }
        let forced = Target { gemm: Some(GemmVariant::Broadcast16), ..plain };
        assert_eq!(variant([5, 6, 7], 1, forced), GemmVariant::Registers);
    }
}
