//! Tests of graphs and of their reverse pass.

use super::*;

#[test]
fn parameters_are_aligned_and_named_once() {
    let mut g = Graph::new();
    g.parameter("a", [3], vec![1.0; 3]).unwrap();
    g.parameter("b", [2, 2], vec![1.0; 4]).unwrap();
    assert_eq!(g.parameters()[1].offset, 64);
    assert_eq!(g.parameter_count(), 7);
    assert!(g.parameter("a", [3], vec![1.0; 3]).unwrap_err().to_string().contains("\"a\""));
    assert!(g.parameter("c", [3], vec![1.0; 2]).unwrap_err().to_string().contains("got 2"));
}

#[test]
fn equal_constants_are_shared() {
    let mut g = Graph::new();
    let a = g.constant([2], vec![1.0, 2.0]).unwrap();
    assert_eq!(g.constant([2], vec![1.0, 2.0]).unwrap(), a);
    assert!(g.constant([1, 2], vec![1.0, 2.0]).unwrap() != a && g.constant([2], vec![1.0, 3.0]).unwrap() != a);
    let b = g.constant_u32([2], vec![1, 2]).unwrap();
    assert_eq!(g.constant_u32([2], vec![1, 2]).unwrap(), b);
}

#[test]
fn a_reshaped_tensor_is_the_same_memory_with_the_same_gradient() {
    use crate::ops::{Activation, Dense};
    let mut g = Graph::new();
    let x = g.state("x", [2, 6]).unwrap();
    let (w, b) = (g.parameter("w", [3, 3], vec![0.5; 9]).unwrap(), g.parameter("b", [3], vec![0.1; 3]).unwrap());
    let rows = g.reshape(x, [4, 3]).unwrap();
    let y = g.apply(Dense { activation: Activation::Silu }, &[rows, w, b]).unwrap()[0];
    let wide = g.reshape(y, [2, 6]).unwrap();
    let goal = g.state("goal", [2, 6]).unwrap();
    // The original tensor is used too.
    let again = g.apply(Dense { activation: Activation::None }, &[y, w, b]).unwrap()[0];
    let again = g.reshape(again, [2, 6]).unwrap();
    let sum = g.apply(crate::ops::Add, &[wide, again]).unwrap()[0];
    let loss = g.mse(sum, goal).unwrap();
    let d = g.backward(&[loss], &[x]).unwrap().of(x).unwrap();
    assert_eq!(g.shape(d), [2, 6]);
    g.keep(d);
    g.keep(wide);
    let mut run = crate::Device::reference().compile(&g).unwrap();
    let values: Vec<f32> = (0..12).map(|i| i as f32 * 0.3 - 1.5).collect();
    let mut loss_at = |values: &[f32]| {
        run.write("x", values).unwrap();
        run.steps(1).unwrap();
        (run.scalar(loss).unwrap(), run.read_f64(d).unwrap())
    };
    let (_, analytic) = loss_at(&values);
    for i in 0..12 {
        let moved = |by: f32| values.iter().enumerate().map(|(j, v)| v + if i == j { by } else { 0.0 }).collect();
        let (up, down): (Vec<f32>, Vec<f32>) = (moved(1e-3), moved(-1e-3));
        let numeric = (loss_at(&up).0 - loss_at(&down).0) / (up[i] - down[i]) as f64;
        assert!((analytic[i] - numeric).abs() < 1e-6, "{i}: {} {numeric}", analytic[i]);
    }
    assert!(g.reshape(x, [5]).unwrap_err().to_string().contains("[2, 6]"));
}

#[test]
fn large_data_is_split_below_the_binding_limit() {
    let mut g = Graph::new();
    let data = g.dataset("mnist", [60_000, 28, 28]).unwrap();
    assert_eq!(data.chunks.len(), 2);
    assert!(data.chunks.iter().all(|&c| g.spec(c).len() * 4 <= CHUNK_BYTES));
    assert_eq!(data.chunks.iter().map(|&c| g.shape(c)[0]).sum::<usize>(), 60_000);
}

/// Gradients of a loss by `x`, analytic and by central differences in f64.
fn gradients(g: &mut Graph, loss: Var, d: Var, x: &str) -> (Vec<f64>, Vec<f64>) {
    g.keep(d);
    let (x, mut run) = (g.find(x).unwrap(), crate::Device::reference().compile(g).unwrap());
    let at: Vec<f64> = (0..g.spec(x).len()).map(|i| (i as f64 * 0.7).sin()).collect();
    let mut loss_at = |values: &[f64]| {
        run.write_f64(x, values).unwrap();
        run.steps(1).unwrap();
        (run.scalar(loss).unwrap(), run.read_f64(d).unwrap())
    };
    let analytic = loss_at(&at).1;
    let slope = |i: usize| {
        let moved = |by: f64| at.iter().enumerate().map(|(j, v)| v + if i == j { by } else { 0.0 }).collect::<Vec<_>>();
        (loss_at(&moved(1e-5)).0 - loss_at(&moved(-1e-5)).0) / 2e-5
    };
    let numeric = (0..at.len()).map(slope).collect();
    (analytic, numeric)
}

#[test]
fn a_requested_gradient_is_computed_before_a_fused_activation() {
    use crate::ops::{Activation, Conv, Dense};
    for convolution in [false, true] {
        let mut g = Graph::new();
        let shape: &[usize] = if convolution { &[2, 3, 5] } else { &[2, 3] };
        let weights: &[usize] = if convolution { &[3, 3, 1] } else { &[3, 3] };
        let w: Vec<f32> = (0..9).map(|i| (i as f32 * 1.3).cos()).collect();
        let w = ["w1", "w2"].map(|name| g.parameter(name, weights, w.clone()).unwrap());
        let b = ["b1", "b2"].map(|name| g.parameter(name, [3], vec![0.1; 3]).unwrap());
        let layer = |g: &mut Graph, x, i: usize, activation| {
            let inputs = [x, w[i], b[i]];
            let out = match convolution {
                true => g.apply(Conv { stride: 1, padding: 0, activation }, &inputs),
                false => g.apply(Dense { activation }, &inputs),
            };
            out.unwrap()[0]
        };
        let x = g.state("x", shape).unwrap();
        let h = layer(&mut g, x, 0, Activation::Tanh);
        let y = layer(&mut g, h, 1, Activation::None);
        let goal = g.state("goal", shape).unwrap();
        let loss = g.mse(y, goal).unwrap();
        // The same loss of h as a value of its own.
        let mut alone = g.clone();
        let d = g.backward(&[loss], &[h, x]).unwrap();
        let (d_h, d_x) = (d.of(h).expect("h was requested"), d.of(x).unwrap());
        g.keep(d_h);
        let (analytic, numeric) = gradients(&mut g, loss, d_x, "x");
        analytic.iter().zip(&numeric).for_each(|(a, n)| assert!((a - n).abs() < 1e-8, "{a} {n}"));
        let free = alone.state("h", shape).unwrap();
        let y = layer(&mut alone, free, 1, Activation::None);
        let loss = alone.mse(y, goal).unwrap();
        let d = alone.backward(&[loss], &[free]).unwrap().of(free).unwrap();
        let (analytic, numeric) = gradients(&mut alone, loss, d, "h");
        analytic.iter().zip(&numeric).for_each(|(a, n)| assert!((a - n).abs() < 1e-8, "{a} {n}"));
        // In the whole graph, h is the output of the first layer.
        let read = |g: &Graph, write: Option<(&str, &[f32])>, var| {
            let mut run = crate::Device::reference().compile(g).unwrap();
            write.into_iter().for_each(|(name, values)| run.write(name, values).unwrap());
            run.steps(1).unwrap();
            run.read_f64(var).unwrap()
        };
        g.keep(h);
        let values: Vec<f32> = read(&g, None, h).iter().map(|v| *v as f32).collect();
        let (whole, part) = (read(&g, None, d_h), read(&alone, Some(("h", &values)), d));
        whole.iter().zip(&part).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{a} {b}"));
    }
}

#[test]
fn element_types_are_checked_where_shapes_are() {
    let mut g = Graph::new();
    let (x, n) = (g.state("x", [4]).unwrap(), g.state_u32("n", [4]).unwrap());
    let e = g.apply(Add, &[x, n]).unwrap_err();
    assert!(matches!(e, Error::Shape { .. }));
    assert_eq!(e.to_string(), "add: tensor 1, n, is u32 [4], expected f32");
    let loss = g.mse(x, x).unwrap();
    let e = g.apply(Add, &[loss, loss]).unwrap_err().to_string();
    assert!(e.contains("scalar with a history"), "{e}");
    let e = g.apply_to(Add, &[x], &[x]).unwrap_err().to_string();
    assert!(e.contains("updates 0 tensors in place, got 1"), "{e}");
}

#[test]
fn a_tensor_of_another_graph_is_refused() {
    let (mut g, mut other) = (Graph::new(), Graph::new());
    let x = g.state("x", [4]).unwrap();
    // At an index of this graph, and at one beyond its end.
    let foreign = [other.state("a", [4]).unwrap(), other.state("b", [4]).unwrap()];
    for y in foreign {
        let refused = |e: Error| assert_eq!(e.to_string(), OTHER_GRAPH);
        refused(g.apply(Add, &[x, y]).unwrap_err());
        refused(g.apply_to(crate::ops::Accumulate { share: 1.0, starts: true }, &[x], &[y]).unwrap_err());
        refused(g.reshape(y, [2, 2]).unwrap_err());
        refused(g.name("y", y).unwrap_err());
        refused(g.define_loss(y, x, x).unwrap_err());
        refused(g.backward(&[y], &[]).unwrap_err());
        refused(g.backward_from(&[(x, x)], &[y]).unwrap_err());
        refused(g.backward_from(&[(x, y)], &[]).unwrap_err());
        let run = crate::Device::cpu().compile(&g).unwrap();
        refused(run.read(y).unwrap_err());
        refused(run.scalar(y).unwrap_err());
    }
}

#[test]
fn a_cloned_graph_has_the_earlier_tensors_and_its_own() {
    let mut g = Graph::new();
    let x = g.state("x", [4]).unwrap();
    let mut copy = g.clone();
    let (a, b) = (g.state("a", [4]).unwrap(), copy.state("b", [4]).unwrap());
    assert_ne!(a, b);
    assert!(g.apply(Add, &[x, a]).is_ok() && copy.apply(Add, &[x, b]).is_ok());
    assert!(g.apply(Add, &[x, b]).is_err() && copy.apply(Add, &[x, a]).is_err());
    // A program has the tensors of its graph at the time of compilation.
    let run = crate::Device::cpu().compile(&g).unwrap();
    let later = g.state("later", [4]).unwrap();
    assert!(run.read(a).is_ok() && run.read(later).is_err());
}

#[test]
fn excessive_sizes_are_refused() {
    let mut g = Graph::new();
    // The product overflows to 8.
    assert!(g.state("x", [(1 << 61) + 1, 8]).unwrap_err().to_string().contains("2^40"));
    assert!(g.parameter("w", [usize::MAX, 2], vec![]).is_err());
    assert!(g.state("x", [1, 1, 1, 1, 1]).is_err() && g.state("x", [3, 0]).is_err());
}

/// The gradient of two parameters is one tensor, which also the ops read that compute other gradients.
#[test]
fn a_gradient_that_is_read_is_copied_to_its_slab() {
    use crate::ops::{Activation, Add, Dense};
    let mut g = Graph::new();
    let values = |n: usize| (0..n).map(|i| (i as f32 * 0.9).sin()).collect::<Vec<f32>>();
    let x = g.constant([2, 3], values(6)).unwrap();
    let [w, b] = [("w", vec![4, 3]), ("b", vec![4])].map(|(name, shape)| {
        let n = shape.iter().product();
        g.parameter(name, shape, values(n)).unwrap()
    });
    let [p, q] = ["p", "q"].map(|name| g.parameter(name, [2, 4], values(8)).unwrap());
    let dense = g.apply1(Dense { activation: Activation::None }, &[x, w, b]).unwrap();
    let sum = g.apply1(Add, &[dense, p]).unwrap();
    let y = g.apply1(Add, &[sum, q]).unwrap();
    let goal = g.constant([2, 4], vec![0.25; 8]).unwrap();
    let loss = g.mse(y, goal).unwrap();
    g.backward(&[loss], &[]).unwrap();
    g.keep(y);
    let mut run = crate::Device::reference().compile(&g).unwrap();
    run.steps(1).unwrap();
    let want: Vec<f64> = run.read_f64(y).unwrap().iter().map(|y| 2.0 / 8.0 * (y - 0.25)).collect();
    let gradient = |name| run.read_parameter(Slab::Grads, name).unwrap();
    assert_eq!((gradient("p"), gradient("q")), (want.clone(), want.clone()));
    let sums: Vec<f64> = (0..4).map(|o| want[o] + want[4 + o]).collect();
    assert!(gradient("b").iter().zip(&sums).all(|(got, want)| (got - want).abs() < 1e-12));
    assert!(gradient("w").iter().all(|d| *d != 0.0));
}

/// A second network has names, parameters and a seed of its own.
#[cfg(feature = "files")]
#[test]
fn names_in_a_scope_are_those_of_its_network() {
    let mut g = Graph::seeded(1);
    let own = g.parameter("weight", [2], vec![1.0; 2]).unwrap();
    let latent = g.name("latent", own).unwrap();
    let other = g.scoped("guide.", 7, |g| {
        assert_eq!(g.seed(), 7);
        assert!(g.find("latent").unwrap_err().to_string().contains("guide.latent"));
        let other = g.parameter("weight", [3], vec![2.0; 3])?;
        g.name("latent", other)?;
        assert_eq!(g.find("latent").unwrap(), other);
        Ok(other)
    });
    let other = other.unwrap();
    assert_eq!((g.seed(), g.find("latent").unwrap(), g.find("guide.latent").unwrap()), (1, latent, other));
    assert_eq!((g.find_parameter("weight"), g.find_parameter("guide.weight")), (Some(own), Some(other)));
    let scopes: Vec<&str> = g.parameters().iter().map(|p| &*p.scope).collect();
    assert_eq!(scopes, ["", "guide."]);
    assert!(g.scoped("guide.", 7, |g| g.state("weight", [3])).unwrap_err().to_string().contains("\"guide.weight\""));
}

/// Two convolutions with a normalisation between them, their loss, and an op on the normalised tensor for `Some`.
fn layers(read: Option<fn(&mut Graph, Var)>) -> (Graph, [Var; 4]) {
    use crate::ops::{Activation, Conv, GroupNorm};
    let mut g = Graph::new();
    let parameter = |g: &mut Graph, name: &str, shape: &[usize]| {
        let len = shape.iter().product();
        g.parameter(name, shape, vec![0.1; len]).unwrap()
    };
    let x = g.state("x", [4, 2, 8]).unwrap();
    let conv = Conv { stride: 1, padding: 1, activation: Activation::None };
    let (w, b) = (parameter(&mut g, "a.w", &[6, 2, 3]), parameter(&mut g, "a.b", &[6]));
    let first = g.apply1(conv, &[x, w, b]).unwrap();
    let (gamma, beta) = (parameter(&mut g, "gamma", &[6]), parameter(&mut g, "beta", &[6]));
    let [normal, stats] = g.apply(GroupNorm::new(2), &[first, gamma, beta]).unwrap()[..] else { panic!("two outputs") };
    let (w, b) = (parameter(&mut g, "b.w", &[2, 6, 3]), parameter(&mut g, "b.b", &[2]));
    let last = g.apply1(conv, &[normal, w, b]).unwrap();
    read.into_iter().for_each(|read| read(&mut g, normal));
    let goal = g.state("goal", [4, 2, 8]).unwrap();
    let loss = g.mse(last, goal).unwrap();
    g.backward(&[loss], &[]).unwrap();
    (g.in_half(), [first, normal, stats, last])
}

#[test]
fn activations_and_their_gradients_are_stored_in_f16_and_nothing_else_is() {
    let (g, [first, normal, stats, last]) = layers(None);
    let stored = |v: Var| (g.spec(v).dtype, g.spec(v).exponent);
    assert_eq!([first, normal].map(stored), [(DType::F16, 0); 2]);
    assert_eq!([stats, last].map(stored), [(DType::F32, 0); 2]);
    let gradients: Vec<&Tensor> = g.tensors.iter().filter(|t| t.gradient && t.spec.dtype == DType::F16).collect();
    // Of both activations, multiplied by the 64 elements of the mean.
    assert_eq!(gradients.len(), 2);
    assert!(gradients.iter().all(|t| t.spec.exponent == 6 && t.spec.shape == [4, 6, 8]), "{gradients:?}");
    assert!(g.tensors.iter().all(|t| t.spec.dtype != DType::F16 || t.storage == Storage::Step && !t.kept));
}

#[test]
fn a_tensor_that_is_kept_or_that_another_op_reads_stays_in_f32() {
    let kept = |g: &mut Graph, v| {
        g.keep(v);
    };
    let read = |g: &mut Graph, v| {
        let y = g.apply1(crate::ops::Softmax, &[v]).unwrap();
        g.keep(y);
    };
    // Through a view, too.
    let viewed = |g: &mut Graph, v| {
        let v = g.reshape(v, [8, 24]).unwrap();
        let y = g.apply1(crate::ops::Softmax, &[v]).unwrap();
        g.keep(y);
    };
    for read in [kept, read, viewed] as [fn(&mut Graph, Var); 3] {
        let (g, [first, normal, ..]) = layers(Some(read));
        assert_eq!([first, normal].map(|v| g.spec(v).dtype), [DType::F16, DType::F32]);
    }
}
