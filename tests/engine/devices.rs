//! Devices: what they keep between runs, and what a program must not touch.

use std::fs;
use std::time::Duration;

use langevin::ops::{Activation, Add, Dense};
use langevin::{Graph, Target};

use crate::common::{On, Test, named, on};

pub fn tests() -> Vec<Test> {
    let mut tests = on(&[On::Gpu], named![products_are_timed_once_where_the_rule_is_unsure]);
    tests.extend(on(&[On::Gpu, On::Cpu, On::Reference], named![what_is_written_beside_a_tensor_is_found]));
    tests
}

/// What was found out is kept in a file, and not found out again.
fn products_are_timed_once_where_the_rule_is_unsure(on: On) {
    let folder = tempfile::tempdir().unwrap();
    let device = on.open().with_target(Target::default()).with_cache(folder.path(), Duration::from_secs(60));
    let mut g = Graph::new();
    let inputs = [("x", vec![512, 16]), ("w", vec![512, 16]), ("b", vec![512])];
    let inputs = inputs.map(|(name, shape)| g.state(name, shape).unwrap());
    let y = g.apply(Dense { activation: Activation::None }, &inputs).unwrap()[0];
    g.keep(y);
    let kept = || {
        let mut files = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
        let path = files.find(|path| path.to_string_lossy().contains("products")).expect("the answers are kept");
        (
            String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
            fs::metadata(&path).unwrap().modified().unwrap(),
        )
    };
    device.compile(&g).unwrap();
    let (text, written) = kept();
    assert_eq!(text.matches("M=512 N=512 K=16 x256 = Blocked").count(), 1, "{text}");
    device.compile(&g).unwrap();
    assert_eq!(kept(), (text, written), "an answer that is known is not looked for again");
}

fn what_is_written_beside_a_tensor_is_found(on: On) {
    let device = on.open();
    let mut g = Graph::new();
    let x = g.state("x", [5]).unwrap();
    let y = g.apply(Add, &[x, x]).unwrap()[0];
    g.keep(y);
    let run = || {
        let mut run = device.compile_guarded(&g).unwrap();
        run.write("x", &[1.5; 5]).unwrap();
        run.steps(1).unwrap();
        run
    };
    assert_eq!(run().guards(), 4);
    for guard in 0..4 {
        let mut run = run();
        run.check_guards().unwrap();
        assert_eq!(run.read(y).unwrap(), [3.0; 5]);
        run.damage_guard(guard).unwrap();
        assert!(run.check_guards().unwrap_err().to_string().contains("outside its tensors"));
    }
}
