//! Reads the reference values (`tests/golden`, or the folder named by `LANGEVIN_GOLDEN`) and compares with them.
//!
//! A folder that is not what its manifest says is a broken test set-up, so reading panics with the reason.
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// The folder named by `LANGEVIN_GOLDEN`, else the project's own copy.
pub fn folder() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::env::var_os("LANGEVIN_GOLDEN").map_or_else(own, PathBuf::from)
}

/// All cases of a folder of reference values.
pub struct Golden {
    files: BTreeMap<String, Vec<Case>>,
}

impl Golden {
    /// Reads [`folder`].
    pub fn open() -> Self {
        Self::read(&folder())
    }

    /// Reads `manifest.json` and the files it lists.
    pub fn read(folder: &Path) -> Self {
        let manifest: Value = serde_json::from_slice(&bytes_of(&folder.join("manifest.json")))
            .unwrap_or_else(|e| panic!("manifest.json in {}: {e}", folder.display()));
        assert_eq!(manifest["format"], 1, "{}: a manifest of another format", folder.display());
        let listing = manifest["files"].as_object().expect("manifest.json: `files` is missing");
        assert!(!listing.is_empty(), "manifest.json lists no files");
        let read_file = |name: &String, cases: &Value| {
            let bytes = bytes_of(&folder.join(name));
            let tensors = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
            let stem = name.trim_end_matches(".safetensors").to_string();
            let cases = cases.as_object().unwrap_or_else(|| panic!("manifest.json: {name} lists no cases"));
            let cases = cases.iter().map(|(case, entry)| Case::read(&stem, case, entry, &tensors)).collect();
            (stem, cases)
        };
        Self { files: listing.iter().map(|(name, cases)| read_file(name, cases)).collect() }
    }

    /// The files' names without their extension.
    pub fn files(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// The cases of a file; none when the folder has no such file.
    pub fn cases(&self, file: &str) -> &[Case] {
        self.files.get(file).map_or(&[], Vec::as_slice)
    }

    /// One case, such as the shared inputs that others refer to.
    pub fn case(&self, file: &str, name: &str) -> &Case {
        let found = self.cases(file).iter().find(|case| case.name == name);
        found.unwrap_or_else(|| panic!("the golden values have no case {file}/{name}"))
    }
}

/// A group of inputs and outputs that belong together.
pub struct Case {
    /// The file it is in, without extension.
    pub file: String,
    /// Its name.
    pub name: String,
    /// Its settings.
    pub meta: Value,
    tensors: BTreeMap<String, Tensor>,
}

struct Tensor {
    /// The manifest's entry: role, tolerances, probe.
    info: Value,
    shape: Vec<usize>,
    /// Every stored dtype is exact in f64.
    values: Vec<f64>,
}

impl Case {
    fn read(file: &str, name: &str, entry: &Value, stored: &SafeTensors) -> Self {
        let listing =
            entry["tensors"].as_object().unwrap_or_else(|| panic!("{file}/{name}: no `tensors` in the manifest"));
        let read_tensor = |(tensor, info): (&String, &Value)| {
            let key = format!("{name}/{tensor}");
            let view = stored.tensor(&key).unwrap_or_else(|e| panic!("{file}: {key}: {e}"));
            assert_eq!(info["shape"], Value::from(view.shape().to_vec()), "{file}: {key}: shape");
            let values = values_of(view.dtype(), view.data());
            assert!(values.iter().all(|v| v.is_finite()), "{file}: {key} holds a value that is not finite");
            (tensor.clone(), Tensor { info: info.clone(), shape: view.shape().to_vec(), values })
        };
        let tensors = listing.iter().map(read_tensor).collect();
        Self { file: file.to_string(), name: name.to_string(), meta: entry["meta"].clone(), tensors }
    }

    /// The names of the given tensors.
    pub fn inputs(&self) -> Vec<&str> {
        self.with_role(|role| role == "input")
    }

    /// The names of the tensors to be checked: whatever is not an input, so that nothing is skipped by mistake.
    pub fn outputs(&self) -> Vec<&str> {
        self.with_role(|role| role != "input")
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// The values of a tensor, row-major.
    pub fn f64s(&self, tensor: &str) -> Vec<f64> {
        self.tensor(tensor).values.clone()
    }

    /// The values of a tensor rounded to f32; inputs are exact.
    pub fn f32s(&self, tensor: &str) -> Vec<f32> {
        self.tensor(tensor).values.iter().map(|&v| v as f32).collect()
    }

    /// The values of a tensor of whole numbers.
    pub fn u32s(&self, tensor: &str) -> Vec<u32> {
        let whole = |&v: &f64| {
            assert!(v == f64::from(v as u32), "{self}/{tensor}: {v} is not a u32");
            v as u32
        };
        self.tensor(tensor).values.iter().map(whole).collect()
    }

    /// The stored shape.
    pub fn shape(&self, tensor: &str) -> Vec<usize> {
        self.tensor(tensor).shape.clone()
    }

    /// What the manifest says a tensor is.
    pub fn meaning(&self, tensor: &str) -> &str {
        self.tensor(tensor).info["meaning"].as_str().unwrap_or_default()
    }

    /// Whether `got` (the full tensor, row-major) agrees with the stored output within the manifest's tolerance; if
    /// not, the worst element.
    pub fn check(&self, tensor: &str, got: &[f64]) -> Result<(), String> {
        self.measure(tensor, got).map(|_| ())
    }

    /// [`Case::check`], giving the largest error as a part of its tolerance.
    pub fn measure(&self, tensor: &str, got: &[f64]) -> Result<f64, String> {
        let Some(stored) = self.tensors.get(tensor).filter(|_| self.outputs().contains(&tensor)) else {
            return Err(format!("{self}: there is no output {tensor:?}"));
        };
        let complain = |what: String| Err(format!("{self}/{tensor}: {what}"));
        let got = match stored.probe(got) {
            Ok(got) => got,
            Err(what) => return complain(what),
        };
        let tolerances = match self.tolerances(stored) {
            Ok(tolerances) => tolerances,
            Err(what) => return complain(what),
        };
        match compare(&got, &stored.values, &tolerances) {
            Ok(part) => Ok(part),
            Err(what) => complain(what),
        }
    }

    /// The tolerance of each element: row k of the tensor named by `step_tol` (else atol), plus rtol * |want|.
    fn tolerances(&self, stored: &Tensor) -> Result<Vec<f64>, String> {
        let number = |key: &str| stored.info[key].as_f64().ok_or(format!("the manifest gives no {key}"));
        let (atol, rtol) = (number("atol")?, number("rtol")?);
        let count = stored.values.len();
        let mut tolerances: Vec<f64> = stored.values.iter().map(|want| atol + rtol * want.abs()).collect();
        if let Some(name) = stored.info["step_tol"].as_str() {
            let rows = self.tensors.get(name).ok_or(format!("the tolerances {name:?} are missing"))?;
            if stored.shape.first() != Some(&rows.values.len()) {
                return Err(format!("{} tolerances for shape {:?}", rows.values.len(), stored.shape));
            }
            let width = count / rows.values.len();
            for i in 0..count {
                tolerances[i] = rows.values[i / width] + rtol * stored.values[i].abs();
            }
        }
        Ok(tolerances)
    }

    fn with_role(&self, wanted: impl Fn(&str) -> bool) -> Vec<&str> {
        let role_fits = |t: &Tensor| wanted(t.info["role"].as_str().unwrap_or_default());
        self.tensors.iter().filter(|(_, t)| role_fits(t)).map(|(name, _)| name.as_str()).collect()
    }

    fn tensor(&self, tensor: &str) -> &Tensor {
        self.tensors.get(tensor).unwrap_or_else(|| panic!("{self} has no tensor {tensor:?}"))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.file, self.name)
    }
}

impl Tensor {
    /// The elements of `got` that were stored: all of them, or every `stride`-th of a probe.
    fn probe(&self, got: &[f64]) -> Result<Vec<f64>, String> {
        let probe = &self.info["probe"];
        let full: Vec<usize> = match probe["of_shape"].as_array() {
            Some(dims) => {
                dims.iter().map(|d| d.as_u64().map(|d| d as usize)).collect::<Option<_>>().ok_or("bad of_shape")?
            }
            None => self.shape.clone(),
        };
        if got.len() != full.iter().product::<usize>() {
            return Err(format!("{} elements, but the shape is {full:?}", got.len()));
        }
        let stride = probe["stride"].as_u64().unwrap_or(1).max(1) as usize;
        Ok(got.iter().copied().step_by(stride).collect())
    }
}

/// `|got - want| <= tolerance` for every element, written so that NaN fails: the largest error as a part of its
/// tolerance, else the worst element.
#[allow(clippy::neg_cmp_op_on_partial_ord)] // NaN <= tolerance is false
fn compare(got: &[f64], want: &[f64], tolerances: &[f64]) -> Result<f64, String> {
    if got.len() != want.len() || tolerances.len() != want.len() {
        return Err(format!("{} elements to compare with {}", got.len(), want.len()));
    }
    let failed = |i: &usize| {
        let err = (got[*i] - want[*i]).abs();
        !(err <= tolerances[*i])
    };
    let excess = |i: &usize| {
        let ratio = (got[*i] - want[*i]).abs() / tolerances[*i];
        if ratio.is_nan() { f64::INFINITY } else { ratio }
    };
    let bad: Vec<usize> = (0..want.len()).filter(failed).collect();
    let Some(worst) = bad.iter().copied().max_by(|i, j| excess(i).total_cmp(&excess(j))) else {
        let part = |i: usize| if got[i] == want[i] { 0.0 } else { excess(&i) };
        return Ok((0..want.len()).map(part).fold(0.0, f64::max));
    };
    Err(format!(
        "{} of {} elements off, the worst at {worst}: got {:e}, want {:e}, tolerance {:e}",
        bad.len(),
        want.len(),
        got[worst],
        want[worst],
        tolerances[worst]
    ))
}

fn values_of(dtype: Dtype, data: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        data.as_chunks::<N>().0.iter().map(|bytes| value(*bytes)).collect()
    }
    match dtype {
        Dtype::F32 => each(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
        Dtype::F64 => each(data, f64::from_le_bytes),
        Dtype::I32 => each(data, |bytes| f64::from(i32::from_le_bytes(bytes))),
        Dtype::U32 => each(data, |bytes| f64::from(u32::from_le_bytes(bytes))),
        other => panic!("golden values of dtype {other:?} are not known"),
    }
}

fn bytes_of(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("golden values: cannot read {}: {e}", path.display()))
}

/// The reader and the tally are checked too.
pub mod checks_itself {
    use super::*;
    use crate::common::{Test, always, named};
    use crate::golden::tally::{Counts, Tally};

    pub fn tests() -> Vec<Test> {
        always(named![
            wrong_elements_are_refused,
            wrong_lengths_and_names_are_refused,
            a_row_has_its_own_tolerance,
            a_probe_wants_the_whole_tensor,
            a_missing_tolerance_is_refused,
            a_case_passes_only_with_all_outputs,
            the_summary_names_files_and_totals,
            every_case_of_the_folder_is_read,
        ])
    }

    /// A case with a plain output, one with a tolerance per row, a probe, and an input.
    fn sample() -> Case {
        let tensor = |info: Value, shape: &[usize], values: &[f64]| Tensor {
            info,
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        let output = |more: Value| {
            let mut info = serde_json::json!({"role": "output", "atol": 0.1, "rtol": 0.01});
            info.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            info
        };
        let probe = serde_json::json!({"probe": {"of_shape": [2, 4], "stride": 3}});
        let steps = serde_json::json!({"step_tol": "tol", "rtol": 0});
        let tensors = [
            ("y", tensor(output(serde_json::json!({})), &[3], &[1.0, -10.0, 0.0])),
            ("steps", tensor(output(steps), &[2, 2], &[0.0; 4])),
            ("part", tensor(output(probe), &[3], &[0.0, 3.0, 6.0])),
            ("tol", tensor(serde_json::json!({"role": "input"}), &[2], &[0.5, 0.0])),
        ];
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_string(), tensor)).collect();
        Case { file: "file".into(), name: "case".into(), meta: Value::Null, tensors }
    }

    fn good(name: &str) -> Option<Vec<f64>> {
        match name {
            "y" => Some(vec![1.05, -10.19, -0.1]),
            "steps" => Some(vec![0.5, -0.5, 0.0, 0.0]),
            "part" => Some((0..8).map(f64::from).collect()),
            _ => None,
        }
    }

    fn wrong_elements_are_refused() {
        let case = sample();
        assert_eq!(case.check("y", &[1.05, -10.19, -0.1]), Ok(()));
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.101, -0.101] {
            let message = case.check("y", &[1.0, -10.0, wrong]).unwrap_err();
            assert!(
                message.contains("1 of 3 elements off, the worst at 2") && message.contains("file/case/y"),
                "{message}"
            );
        }
        let message = case.check("y", &[1.2, f64::NAN, 9.0]).unwrap_err();
        assert!(message.contains("3 of 3") && message.contains("worst at 1"), "{message}");
    }

    fn wrong_lengths_and_names_are_refused() {
        let case = sample();
        for got in [&[][..], &[1.0, -10.0], &[1.0, -10.0, 0.0, 0.0]] {
            assert!(case.check("y", got).unwrap_err().contains("shape is [3]"));
        }
        assert!(case.check("z", &[0.0]).unwrap_err().contains("no output \"z\""));
        assert!(case.check("tol", &[0.5, 0.0]).unwrap_err().contains("no output \"tol\""), "an input is not an output");
    }

    fn a_row_has_its_own_tolerance() {
        let case = sample();
        assert_eq!(case.check("steps", &[0.5, -0.5, 0.0, 0.0]), Ok(()));
        assert!(case.check("steps", &[0.0, 0.0, 0.01, 0.0]).is_err(), "row 1 has tolerance 0");
        assert!(case.check("steps", &[0.0, 0.51, 0.0, 0.0]).is_err());
    }

    fn a_probe_wants_the_whole_tensor() {
        let case = sample();
        assert_eq!(case.check("part", &[0.0, 9.0, 9.0, 3.0, 9.0, 9.0, 6.0, 9.0]), Ok(()));
        assert!(case.check("part", &[0.0, 9.0, 9.0, 3.0, 9.0, 9.0, 9.0, 9.0]).is_err());
        assert!(case.check("part", &[0.0, 3.0, 6.0]).is_err(), "the subsample alone is not enough");
    }

    fn a_missing_tolerance_is_refused() {
        let mut case = sample();
        case.tensors.get_mut("y").unwrap().info.as_object_mut().unwrap().remove("atol");
        assert!(case.check("y", &[1.0, -10.0, 0.0]).unwrap_err().contains("no atol"));
        case.tensors.remove("tol");
        assert!(case.check("steps", &[0.0; 4]).unwrap_err().contains("missing"));
    }

    fn a_case_passes_only_with_all_outputs() {
        let case = sample();
        let count = |compute: &dyn Fn(&str) -> Option<Vec<f64>>| {
            let mut tally = Tally::new();
            tally.case(&case, compute);
            (tally.total(), tally.tensors)
        };
        let counts = |passed, failed, unsupported| Counts { passed, failed, unsupported };
        assert_eq!(count(&good), (counts(1, 0, 0), counts(3, 0, 0)));
        assert_eq!(count(&|name| good(name).filter(|_| name != "y")), (counts(0, 0, 1), counts(2, 0, 1)));
        assert_eq!(count(&|name| Some(good(name)?.into_iter().skip(1).collect())), (counts(0, 1, 0), counts(0, 3, 0)));
        assert_eq!(count(&|_| None), (counts(0, 0, 1), counts(0, 0, 3)));
        let partly = |name: &str| if name == "y" { Some(vec![f64::NAN; 3]) } else { None };
        assert_eq!(count(&partly), (counts(0, 1, 0), counts(0, 1, 2)));
    }

    fn the_summary_names_files_and_totals() {
        let case = sample();
        let mut tally = Tally::new();
        tally.case(&case, good);
        tally.unsupported(&case);
        tally.failed(&case, "device lost");
        let lines = tally.to_string();
        assert!(lines.starts_with(
            "golden: file: 1 passed, 1 failed, 1 unsupported\ngolden: 1 passed, 1 failed, 1 unsupported\n"
        ));
        assert_eq!(tally.failures(), ["file/case: device lost"]);
    }

    fn every_case_of_the_folder_is_read() {
        let golden = Golden::open();
        assert!(golden.files().iter().any(|file| file == "samplers"), "{:?}", golden.files());
        for file in golden.files() {
            for case in golden.cases(&file) {
                assert_eq!(case.inputs().len() + case.outputs().len(), case.tensors.len(), "{case}");
                for name in case.outputs().into_iter().filter(|name| !case.tensor(name).info["probe"].is_object()) {
                    assert_eq!(case.check(name, &case.f64s(name)), Ok(()), "the stored values pass their own check");
                }
            }
        }
        let inputs = golden.case("samplers", "inputs");
        assert_eq!(inputs.shape("noise").iter().product::<usize>(), inputs.f32s("noise").len());
    }
}
