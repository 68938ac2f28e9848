use super::file::OF_DIFFUSION;
use super::*;

fn parse(text: &str, model: Option<&str>) -> Result<Config> {
    Ok(Config::parse_all(text, &|stated| Config::for_model(model.or(stated).unwrap_or("mlp")))?.0)
}

use crate::diffusion::SCHEDULES;
use crate::nn::{ChapterOptions, StepEncoderOptions, StepEncoding};

#[test]
fn toml_round_trip_and_partial_files() {
    let config = Config { seed: 9, decay: Decay::Cosine { warmup: 5, total: 50 }, ..Config::default() };
    assert_eq!(parse(&config.to_toml(), None).unwrap(), config);
    let read = ReadOptions { columns: vec!["a".into()], window: Some(8), ..ReadOptions::default() };
    let config = Config { read, decay: Decay::Constant, ..Config::default() };
    assert_eq!(parse(&config.to_toml(), None).unwrap(), config);
    let stated = "loss = \"l1:1,ssim:0.1\"\nweighting = \"min_snr\"";
    let config = parse(stated, None).unwrap();
    assert_eq!((config.loss.to_string(), config.weighting.to_string()), ("l1,ssim:0.1".into(), "min_snr:5".into()));
    let partial = parse("lr = 0.5\n[model]\nname = \"chapter\"\nwidth = 7", None).unwrap();
    let chapter = ChapterOptions { width: 7, ..ChapterOptions::default() };
    assert_eq!((partial.lr, partial.model, partial.prediction), (0.5, chapter.into(), Prediction::Epsilon));
    let other = parse("[model]\nname = \"chapter\"\nwidth = 7", Some("mlp")).unwrap();
    assert_eq!(other.model, MlpOptions { width: 7, ..MlpOptions::default() }.into());
}

#[test]
fn shown_settings_have_no_secrets() {
    let signed = |file: &str| format!("https://me:secret@host/{file}?signature=secret:part");
    let condition = ConditionSources::default().labels(signed("l.csv")).vector(signed("v.npy")).given(signed("g.npz"));
    let config = Config {
        data: signed("d.npz"),
        condition,
        mask: Some(format!("point:0.5,{}", signed("m")).parse().unwrap()),
        ..Config::default()
    };
    let shown = config.without_secrets();
    assert!(!shown.to_toml().contains("secret") && shown.data == "https://host/d.npz:part", "{}", shown.to_toml());
    assert_eq!(shown.mask.unwrap().to_string(), "point:0.5,https://host/m:part");
}

#[test]
fn mistakes_are_named() {
    for (text, cause) in [
        ("learning_rate = 1", "unknown field `learning_rate`"),
        ("lr = \"fast\"", "in `lr`"),
        ("loss = \"nope\"", "there are: mse"),
        ("weighting = \"min_snr:-5\"", "gamma is \"-5\""),
        ("optimizer = \"nope\"", "there are: sgd, sgd_momentum"),
        ("steps = 1\nlr = = 2", "line 2 is not TOML"),
        ("lr = 1\nsteps =", "line 2: `steps` has no value"),
        ("steps = \"a\"", "expected a whole number of 0 or more in `steps`"),
        ("decay = { cosine = { warm = 3 } }", "unknown field `warm`"),
        ("decay = \"linear\"", "unknown variant `linear`"),
    ] {
        let message = parse(text, None).unwrap_err().to_string();
        assert!(message.contains(cause) && !message.contains('\n'), "{message}");
    }
    let message = parse("schedule = \"nope\"", None).unwrap_err().to_string();
    assert!(message.contains("unknown schedule \"nope\"") && message.contains("cosine"), "{message}");
    let step = StepEncoderOptions { kind: StepEncoding::Learned, learned_steps: 10, ..Default::default() };
    let config = Config { model: MlpOptions { step, ..Default::default() }.into(), ..Config::default() };
    let message = config.check().unwrap_err().to_string();
    assert!(message.contains("10 rows for 1000 diffusion steps") && message.contains("to 1000 or more"), "{message}");
    let config = Config { batch: 10, ..Config::default() };
    assert!(config.batch_for(5).unwrap_err().to_string().contains("--batch 5"));
}

#[test]
fn a_decay_may_be_incomplete() {
    let decay = |text: &str| parse(text, None).unwrap().decay;
    assert_eq!(decay("steps = 300\n[decay.cosine]\nwarmup = 3"), Decay::Cosine { warmup: 3, total: 300 });
    assert_eq!(decay("steps = 300\ndecay = \"cosine\""), Decay::Cosine { warmup: 15, total: 300 });
    assert_eq!(decay("steps = 3\n[decay.cosine]\ntotal = 40"), Decay::Cosine { warmup: 0, total: 40 });
    assert_eq!(decay("[decay.inverse_sqrt]"), Decay::InverseSqrt { hold: 1_000 });
    assert_eq!(decay("decay = \"constant\""), Decay::Constant);
    // The options that follow the file still change the length.
    let mut config = parse("steps = 300\n[decay.cosine]\nwarmup = 3", None).unwrap();
    config.set_steps(60);
    assert_eq!(config.decay, Decay::Cosine { warmup: 3, total: 60 });
}

#[test]
fn a_denoiser_states_no_diffusion_process() {
    let denoiser = Config { task: Task::Denoise, noise: "gaussian:0.1".parse().ok(), ..Config::default() };
    let edm = Config { zero_terminal_snr: true, objective: ObjectiveKind::Edm, ..Config::default() };
    for name in OF_DIFFUSION {
        assert!(!denoiser.to_toml().contains(&format!("{name} =")), "{}", denoiser.to_toml());
        let stated = [Config::default(), edm.clone()].map(|c| c.to_toml().contains(&format!("{name} =")));
        assert!(stated.contains(&true), "{name}");
    }
    assert_eq!(parse(&denoiser.to_toml(), None).unwrap(), denoiser);
    let set = Config { prediction: Prediction::X0, ..denoiser };
    assert_eq!(parse(&set.to_toml(), None).unwrap(), set);
}

#[test]
fn schedules_have_the_names_of_the_engine() {
    assert_eq!(ScheduleKind::NAMES, SCHEDULES);
    for name in SCHEDULES {
        let config = parse(&format!("schedule = \"{name}\""), None).unwrap();
        assert!(config.to_toml().contains(&format!("schedule = \"{name}\"\n")), "{}", config.to_toml());
        assert_eq!(config.noise_schedule().unwrap(), Schedule::named(name, 1_000).unwrap());
    }
}

#[test]
fn an_objective_sets_the_prediction() {
    let of = |text: &str| parse(text, None).unwrap();
    assert_eq!(of("objective = \"flow\"").prediction, Prediction::Flow);
    assert_eq!(of("objective = \"edm\"").prediction, Prediction::Edm);
    assert_eq!(of("objective = \"edm\"\nprediction = \"v\"").prediction, Prediction::V);
    let (flow, mlp) = (of("objective = \"flow\""), Config::default());
    assert_eq!((flow.loss_target(), mlp.loss_target()), (None, None));
    assert_eq!(parse(&flow.to_toml(), None).unwrap(), flow);
    let swept = mlp.with("objective", "flow").unwrap();
    assert_eq!((swept.objective, swept.prediction), (ObjectiveKind::Flow, Prediction::Flow));
    assert_eq!(swept.with("objective", "ddpm").unwrap(), mlp);
    // A network that predicts the data keeps to that, and the loss is that of the objective.
    let mut x0 = Config { prediction: Prediction::X0, ..mlp };
    x0.set_objective(ObjectiveKind::Flow);
    assert_eq!((x0.prediction, x0.loss_target().unwrap().of), (Prediction::X0, Prediction::Flow));
}

#[test]
fn objectives_refuse_what_they_cannot_do() {
    let message = |text: &str| parse(text, None).unwrap().check().unwrap_err().to_string();
    let zero = message("zero_terminal_snr = true\nprediction = \"epsilon\"");
    assert!(zero.contains("pure noise") && zero.contains("predict v"), "{zero}");
    parse("zero_terminal_snr = true\nprediction = \"v\"", None).unwrap().check().unwrap();
    let epsilon = message("objective = \"flow\"\nprediction = \"epsilon\"");
    assert!(epsilon.contains("pure noise"), "{epsilon}");
    assert!(message("times = \"uniform\"").contains("has no such times"));
    assert!(message("objective = \"flow\"\ntimes = \"steps\"").contains("uniform or log_normal"));
    assert!(message("objective = \"edm\"\nsigma_data = -1.0").contains("sigma_data is -1"));
    let twice = message("objective = \"flow\"\nzero_terminal_snr = true");
    assert!(twice.contains("zero_terminal_snr needs the objective ddpm"), "{twice}");
}

#[test]
fn every_optimizer_takes_its_settings() {
    for name in OptimizerKind::NAMES {
        let plain = Config { optimizer: name.parse().unwrap(), ..Config::default() };
        let other = Config { momentum: 0.5, beta1: 0.8, beta2: 0.9, weight_decay: 0.1, ..plain.clone() };
        assert_eq!(plain.optimizer().unwrap() != other.optimizer().unwrap(), *name != "sgd", "{name}");
    }
    let e = Config { beta2: 1.5, ..Config::default() }.check().unwrap_err().to_string();
    assert!(e.contains("1.5"), "{e}");
}
