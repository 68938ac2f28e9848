//! The sample data of the repository.

use langevin::data::Dataset;

use crate::common::{Test, named, no_sample_data, sample_data, unless};

pub fn tests() -> Vec<Test> {
    unless(no_sample_data(), named![the_sample_data_are_read])
}

fn the_sample_data_are_read() {
    for (name, shape, len) in [
        ("digits8x8.npy", &[1, 8, 8][..], 1797),
        ("pulse.npy", &[128], 1203),
        ("mnist-1k/train-images-idx3-ubyte", &[1, 28, 28], 1000),
        ("DatasaurusDozen.tsv:star", &[2], 142),
        ("dino.csv", &[2], 142),
    ] {
        let data = Dataset::load(&sample_data(name), 0).unwrap();
        assert_eq!((data.shape.as_slice(), data.len()), (shape, len), "{name}");
    }
    let message = Dataset::load(&sample_data("mnist-1k/train-labels-idx1-ubyte"), 0).unwrap_err().to_string();
    assert!(message.contains("labels"), "{message}");
}
