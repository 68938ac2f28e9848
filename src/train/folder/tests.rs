use std::path::Path;

use super::*;
use crate::data::Dataset;
use crate::device::Device;
use crate::train::{Stop, train};

fn small(micro_batch: usize) -> Config {
    Config { batch: 8, micro_batch, ..Config::for_model("simple").unwrap() }
}

fn trainer_of(config: Config) -> Trainer {
    let data = Dataset::new("signals", [4], (0..64).map(|i| (i as f32 * 0.7).sin()).collect()).unwrap();
    Trainer::new(&Device::cpu(), &config, &data).unwrap()
}

fn trainer(micro_batch: usize) -> Trainer {
    trainer_of(small(micro_batch))
}

/// The run folder at a path, with checkpoints of a training that has not begun.
fn saved(path: &Path, checkpoints: usize) -> (RunFolder, Trainer) {
    let (folder, mut trainer) = (RunFolder::vacant(path).unwrap(), trainer(0));
    folder.write_config(&trainer).unwrap();
    (0..checkpoints).for_each(|_| folder.write_checkpoint(&trainer.checkpoint().unwrap()).unwrap());
    (folder, trainer)
}

/// A run that is resumed on a smaller device writes its micro-batch to `config.toml` before the next checkpoint.
#[test]
fn a_smaller_micro_batch_does_not_invalidate_the_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, mut large) = saved(&dir.path().join("run"), 1);
    large.checkpoint().unwrap().save(&folder.file(BEST)).unwrap();
    folder.write_config(&trainer(2)).unwrap();
    for checkpoint in [folder.checkpoint(), folder.best()] {
        assert_eq!(checkpoint.unwrap().config.micro_batch, 2);
    }
}

/// Both the folder and single files may disappear while a run is trained.
#[test]
fn a_folder_that_was_deleted_is_created_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let folder = RunFolder::vacant(&path).unwrap();
    let mut trainer = trainer_of(Config { steps: 40, checkpoint_every: 10, ..small(0) });
    folder.write_config(&trainer).unwrap();
    let mut removed = 0;
    let stop = train(&folder, &mut trainer, &mut |p| {
        if p.step > 10 * (removed + 1) && removed < 2 {
            match removed {
                0 => fs::rename(&path, dir.path().join("moved")).unwrap(),
                _ => fs::remove_dir_all(&path).unwrap(),
            }
            removed += 1;
        }
        true
    });
    assert_eq!(stop.unwrap(), Stop::Done);
    let checkpoint = RunFolder::open(&path).unwrap().checkpoint().unwrap();
    assert_eq!((checkpoint.step, checkpoint.config), (40, trainer.config().clone()));
    let metrics = fs::read_to_string(folder.file(METRICS)).unwrap();
    let steps: Vec<&str> = metrics.lines().map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(steps, ["step", "10", "20", "30", "40"]);
    // After the last step too.
    fs::remove_dir_all(&path).unwrap();
    #[cfg(feature = "cli")]
    {
        let state = trainer.checkpoint().unwrap();
        folder.save_again(&trainer, &state).unwrap();
        assert_eq!(RunFolder::open(&path).unwrap().checkpoint().unwrap().step, 40);
    }
}

#[test]
fn a_run_is_replaced_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let (folder, _) = saved(&path, 2);
    fs::write(folder.file(METRICS), "old").unwrap();
    fs::write(folder.file("notes.txt"), "mine").unwrap();
    drop(folder);
    assert!(RunFolder::vacant(&path).unwrap_err().to_string().contains("--force"));
    let new = RunFolder::replacing(&path).unwrap();
    assert!(new.has_checkpoint(), "nothing is removed before the new run begins");
    new.write_config(&trainer(0)).unwrap();
    assert!(!new.has_checkpoint() && !new.file(METRICS).exists() && new.file("notes.txt").exists());
    // Only a run is replaced.
    fs::create_dir(dir.path().join("mine")).unwrap();
    fs::write(dir.path().join("mine/notes.txt"), "mine").unwrap();
    assert!(RunFolder::replacing(&dir.path().join("mine")).unwrap_err().to_string().contains("not empty"));
}

#[test]
fn a_path_that_is_not_a_run_names_the_run_that_may_be_meant() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = dir.path().join("sweep");
    let run = sweep.join("lr=0.1");
    let (folder, _) = saved(&run, 1);
    fs::create_dir(folder.file("samples")).unwrap();
    let message = |path: &Path| RunFolder::open(path).unwrap_err().to_string();
    let quoted_run = quoted(&run.to_string_lossy());
    for part in [LAST, "samples", "config.toml"] {
        let message = message(&folder.file(part));
        assert!(message.ends_with(&format!("part of one; use {quoted_run}")), "{message}");
    }
    assert!(message(&sweep).ends_with(&format!("name one of them: {quoted_run}")), "{}", message(&sweep));
    fs::write(dir.path().join("data.npy"), "x").unwrap();
    let file = message(&dir.path().join("data.npy"));
    assert!(file.contains("is a file, not a run folder") && !file.contains("--out data.npy"), "{file}");
}

#[test]
fn a_checkpoint_of_a_newer_version_is_not_to_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, _) = saved(&dir.path().join("run"), 2);
    let bytes = fs::read(folder.file(LAST)).unwrap();
    let format = br#"\"format\":1,"#;
    let at = bytes.windows(format.len()).position(|part| part == format).unwrap() + format.len() - 2;
    fs::write(folder.file(LAST), [&bytes[..at], b"9", &bytes[at + 1..]].concat()).unwrap();
    let message = folder.checkpoint().unwrap_err().to_string();
    assert!(message.contains("newer version of langevin, in format 9"), "{message}");
    assert!(!message.contains("cp ") && !message.contains("train again"), "{message}");
}

#[test]
fn a_full_disk_is_noticed_before_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, trainer) = saved(&dir.path().join("run"), 1);
    let (size, estimate) = (fs::metadata(folder.file(LAST)).unwrap().len(), trainer.checkpoint_size());
    assert!((size..size + (32 << 10)).contains(&estimate), "{size} and {estimate}");
    folder.check_space(estimate, true, 0).unwrap();
    let message = folder.check_space(1 << 60, false, 20 << 40).unwrap_err().to_string();
    assert!(
        message.contains("need 3145748.0 TiB more (3 of 1048576.0 TiB, and 20.0 TiB of snapshots), but the"),
        "{message}"
    );
    // Existing checkpoints are replaced.
    File::options().write(true).open(folder.file(LAST)).unwrap().set_len(3 << 20).unwrap();
    let free = fs4::available_space(dir.path()).unwrap();
    folder.check_space((free + (2 << 20)) / 3, false, 0).unwrap();
}

#[cfg(unix)]
#[test]
fn a_private_checkpoint_stays_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (folder, mut trainer) = saved(&dir.path().join("run"), 1);
    fs::set_permissions(folder.file(LAST), fs::Permissions::from_mode(0o600)).unwrap();
    folder.write_checkpoint(&trainer.checkpoint().unwrap()).unwrap();
    for name in [LAST, PREVIOUS] {
        assert_eq!(fs::metadata(folder.file(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn commands_in_messages_can_be_pasted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a run");
    let missing = RunFolder::open(&path).unwrap_err().to_string();
    assert!(missing.contains(&format!("--out '{}'", path.display())), "{missing}");
    let (folder, _) = saved(&path, 2);
    fs::write(folder.file(LAST), "x").unwrap();
    let damaged = folder.checkpoint().unwrap_err().to_string();
    let [last, previous] = [LAST, PREVIOUS].map(|name| folder.file(name).display().to_string());
    assert!(damaged.contains(&format!("cp '{previous}' '{last}'")), "{damaged}");
}
