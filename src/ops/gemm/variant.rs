//! The variants of the matrix product kernel, and the rule that selects one.

use super::Product;
use crate::kernel::{GemmVariant, Target};

/// Multiply-adds above which a product is worth the seconds that software adapters need to compile the largest kernel.
pub(crate) const LARGE: usize = 1 << 25;
/// Smallest m, n and k for which tiles of cooperative matrices are efficient.
const LEAST_COOPERATIVE: usize = 16;
/// Workgroups needed to occupy an adapter.
const BUSY: usize = 64;

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

    /// The largest tiles whose grid occupies the adapter and wastes little work beyond the edges. The number of
    /// workgroups needed differs between adapters, so close to the minimum smaller tiles may be faster.
    fn tiles(product: &Product) -> Vec<Self> {
        let [m, n, _] = product.shape;
        let tiles = |side: usize| m.div_ceil(side) * n.div_ceil(side);
        let area = |side: usize| tiles(side) * side * side;
        let groups = |side: usize| tiles(side) * product.slices;
        let fits = |side: usize| groups(side) >= BUSY && 4 * area(side) <= 5 * area(32);
        let (large, small, side) = match (fits(128), fits(64)) {
            (true, _) => (Self::Blocked128, Self::Blocked64, 128),
            (_, true) => (Self::Blocked64, Self::Blocked32, 64),
            _ => return vec![Self::Blocked32],
        };
        if groups(side) >= 4 * BUSY { vec![large] } else { vec![large, small] }
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
        assert_eq!(variant([256, 1024, 1024], 1, hardware), GemmVariant::Blocked64);
        assert_eq!(variant([256, 128, 228], 1, hardware), GemmVariant::Blocked32);
        // 100 rows pad a tile of 128 no more than four of 32; 32 rows would leave three quarters of it idle.
        assert_eq!(variant([100, 100_000, 64], 1, hardware), GemmVariant::Blocked128);
        assert_eq!(variant([32, 100_000, 64], 1, hardware), GemmVariant::Blocked32);
        assert_eq!(variant([64, 64, 4096], 64, hardware), GemmVariant::Blocked64);
    }

    #[test]
    fn candidates_are_tried_for_medium_grids_on_hardware_only() {
        let hardware = Target { subgroup: Some(32), ..Target::default() };
        let unsure = |shape, target| variants(shape, 1, target).len() > 1;
        assert_eq!(variants([1024, 1024, 64], 1, hardware), [GemmVariant::Blocked128, GemmVariant::Blocked64]);
        assert_eq!(variants([512, 512, 64], 1, hardware), [GemmVariant::Blocked64, GemmVariant::Blocked32]);
        assert!(!unsure([2048, 2048, 64], hardware) && !unsure([256, 256, 64], hardware));
        assert!(!unsure([1024, 1024, 64], Target { software: true, ..hardware }));
        assert!(!unsure([1024, 1024, 64], Target { gemm: Some(GemmVariant::Blocked64), ..hardware }));
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
