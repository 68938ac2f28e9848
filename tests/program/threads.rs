//! The number of threads of the CPU executor changes the speed alone.

use crate::common::{Test, always, named};
use crate::support::{Outcome, Place, npy, signals};

pub fn tests() -> Vec<Test> {
    always(named![the_number_of_threads_changes_no_byte])
}

/// Sizes that are no multiples of what a thread takes at a time, and products that are large enough to be shared out.
const SETTINGS: [(&str, &str); 3] = [
    ("signals.npy --model mlp --batch 97 --steps 4", "[model]\nwidth = 251\ndepth = 2\nencoding = 34\n"),
    ("images.npy --model unet --batch 7 --micro-batch 5 --steps 3 --loss mse,ssim:0.1", "[model]\nwidth = 16\n"),
    (
        "images.npy --model autoencoder --task denoise --noise jpeg:30 --batch 33 --steps 4 --validation 0.2",
        "[model]\nwidth = 25\nencoding = 8\n",
    ),
];

fn the_number_of_threads_changes_no_byte() {
    let place = Place::new();
    place.write("signals.npy", npy("<f4", false, &[230, 37], &signals(230 * 37)));
    place.write("images.npy", npy("<f4", false, &[60, 1, 12, 20], &signals(60 * 12 * 20)));
    for (i, (options, settings)) in SETTINGS.into_iter().enumerate() {
        place.write("settings.toml", settings);
        let trained = |threads: usize| {
            let run = format!("run-{i}-{threads}");
            let train = format!("train {options} --config settings.toml --out {run}");
            let mut command = place.command(&train);
            let outcome = Outcome::of(command.env("LANGEVIN_THREADS", threads.to_string()).output().unwrap());
            assert!(outcome.code == Some(0) && outcome.out.contains(&format!("({threads} thread")), "{outcome:?}");
            let samples = place.list(&format!("{run}/samples")).into_iter().filter(|name| name.ends_with(".npy"));
            let mut files: Vec<String> = samples.map(|name| format!("samples/{name}")).collect();
            files.push("checkpoint.safetensors".into());
            files.into_iter().map(|name| (place.read(&format!("{run}/{name}")), name)).collect::<Vec<_>>()
        };
        let want = trained(1);
        for threads in [2, 3, 7] {
            for ((got, name), (want, _)) in trained(threads).iter().zip(&want) {
                assert!(got == want, "{options}: {name} differs with {threads} threads");
            }
        }
    }
}
