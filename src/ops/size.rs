//! Bounds the size of each kernel. Some drivers have slow shader compilers, and a kernel that is too large for one of
//! them delays the first step of every program that uses it.

use std::collections::HashSet;

use naga::{Block, Expression, Function, Statement};

use super::{GemmVariant, case::Case, catalog};
use crate::kernel::Target;

/// The maximum number of paths through the body of a loop: ten conditions in sequence. SwiftShader follows each path;
/// twenty conditions take it seconds, thirty take minutes and gigabytes.
const PATHS: f64 = 1024.0;

/// The maximum number of instructions, after inlining and unrolling: software adapters take about a second to compile
/// them.
const INSTRUCTIONS: usize = 16_384;

/// The size of a block or a function after inlining.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Size {
    /// Expressions and statements.
    instructions: usize,
    /// Paths from start to end.
    paths: f64,
    /// The maximum number of paths through the body of one of its loops.
    in_loop: f64,
}

impl Size {
    const NOTHING: Self = Self { instructions: 0, paths: 1.0, in_loop: 1.0 };

    fn instructions(instructions: usize) -> Self {
        Self { instructions, ..Self::NOTHING }
    }

    fn then(self, next: Self) -> Self {
        let instructions = self.instructions + next.instructions;
        Self { instructions, paths: self.paths * next.paths, in_loop: self.in_loop.max(next.in_loop) }
    }

    fn or(self, other: Self) -> Self {
        Self { paths: self.paths + other.paths, ..self.then(other) }
    }

    /// One of both branches, selected at compile time.
    fn either(self, other: Self) -> Self {
        Self { paths: self.paths.max(other.paths), ..self.then(other) }
    }

    fn repeated(self) -> Self {
        Self { in_loop: self.in_loop.max(self.paths), ..Self::NOTHING.or(self) }
    }

    /// `called`: the sizes of the functions it may call.
    fn of(function: &Function, called: &[Size]) -> Self {
        Self::of_block(&function.body, function, called)
    }

    fn of_block(block: &Block, function: &Function, called: &[Size]) -> Self {
        block.iter().fold(Self::NOTHING, |size, statement| size.then(Self::of_statement(statement, function, called)))
    }

    fn of_statement(statement: &Statement, function: &Function, called: &[Size]) -> Self {
        let of = |block| Self::of_block(block, function, called);
        let inner = match statement {
            Statement::Emit(range) => return Self::instructions(range.clone().count()),
            Statement::Block(block) => return of(block),
            Statement::Call { function, .. } => called[function.index()],
            Statement::If { accept, reject, .. } => of(accept).or(of(reject)),
            Statement::Loop { body, continuing, .. } => of(body).then(of(continuing)).repeated(),
            Statement::Switch { selector, cases } => {
                let known = matches!(function.expressions[*selector], Expression::Override(_));
                let join = if known { Self::either } else { Self::or };
                cases.iter().map(|case| of(&case.body)).reduce(join).unwrap_or(Self::NOTHING)
            }
            _ => Self::NOTHING,
        };
        inner.then(Self::instructions(1))
    }
}

/// The size of an entry point.
fn size(source: &str, entry: &str) -> Size {
    let module = naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{}", e.emit_to_string(source)));
    // Functions are declared before their callers.
    let called = module.functions.iter().fold(Vec::new(), |mut called, (_, function)| {
        called.push(Size::of(function, &called));
        called
    });
    let entry = module.entry_points.iter().find(|e| e.name == entry).expect("a kernel has its entry");
    Size::of(&entry.function, &called)
}

/// Kinds of adapters, with each variant of the product that they can run.
fn targets() -> Vec<Target> {
    let lanes = [None, Some(4), Some(8), Some(16), Some(32)];
    let plain = lanes.into_iter().flat_map(|subgroup| {
        [false, true].map(|software| Target { subgroup, software, half: subgroup.map(|_| 8), ..Target::default() })
    });
    let variants = |target: Target| {
        let forced = GemmVariant::ALL.into_iter().filter(move |f| f.runs_on(&target)).map(Some);
        [None].into_iter().chain(forced).map(move |variant| Target { gemm: variant, ..target })
    };
    plain.flat_map(variants).collect()
}

#[test]
fn kernels_are_small_enough_for_slow_compilers() {
    let cases: Vec<Case> = catalog().into_iter().flat_map(|(_, cases)| cases).collect();
    let (mut known, mut large) = (HashSet::new(), Vec::new());
    for target in targets() {
        for case in cases.iter().filter(|case| case.concerns(&target).unwrap()) {
            let kernel = case.kernel(&target).unwrap();
            let source = kernel.source().unwrap();
            if !known.insert((source.clone(), kernel.entry)) {
                continue;
            }
            let size = size(&source, kernel.entry);
            if size.in_loop > PATHS || size.instructions > INSTRUCTIONS {
                large.push(format!("{size:?}: {} for {target:?}", kernel.summary()));
            }
        }
    }
    assert!(known.len() > 100, "only {} kernels", known.len());
    assert!(large.is_empty(), "{} of {} kernels are too large:\n{}", large.len(), known.len(), large.join("\n"));
}

#[test]
fn paths_multiply_along_a_loop_and_through_calls() {
    let of = |body: &str| {
        let text = format!(
            "override KIND: u32;
             fn both(a: bool, b: bool) -> bool {{ return a && b; }}
             @compute @workgroup_size(1) fn run(@builtin(local_invocation_index) i: u32) {{ {body} }}"
        );
        size(&text, "run")
    };
    assert_eq!(of("if (i > 0u) { } if (i > 1u) { }").paths, 4.0);
    assert_eq!(of("if (i > 0u) { } if (i > 1u) { }").in_loop, 1.0);
    assert_eq!(of("loop { let a = both(i > 0u, i > 1u); let b = both(i > 2u, a); if (b) { break; } }").in_loop, 8.0);
    assert_eq!(of("loop { if ((i > 0u) & (i > 1u)) { break; } }").in_loop, 2.0);
    assert_eq!(of("loop { switch i { case 0u: { break; } case 1u: { } default: { } } }").in_loop, 3.0);
    assert_eq!(of("loop { switch KIND { case 0u: { break; } case 1u: { } default: { } } }").in_loop, 1.0);
    assert!(of("let a = both(true, i > 0u); let b = both(true, a);").instructions > of("let a = i > 0u;").instructions);
}
