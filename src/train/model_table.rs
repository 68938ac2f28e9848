//! The table `[model]` of a settings file: the name of a network and its settings.

use toml::{Table, Value};

use super::tables::{insert, leaves, one_line, to_table};
use crate::error::{Error, Result};
use crate::nn::{ConditionOptions, MODELS, Model};

/// Settings of some networks, with the values with which they mean the same as for a network without them. Earlier versions
/// wrote most of them for every network.
const FORMER: &str = r#"
depth = 1
encoding = 128
step_encoding = "halves"
flip_sin_to_cos = false
frequency_shift = 0.0
learned_steps = 1000
activation = "silu"
residual = true
input_encoding = 0
layer_norm = true
"#;

/// The name of the network in the table.
///
/// # Errors
/// When the table is not a table, or the name not text.
pub(super) fn name(stated: Option<&Value>) -> Result<Option<&str>> {
    match stated {
        None => Ok(None),
        Some(Value::Table(stated)) => match stated.get("name") {
            None => Ok(None),
            Some(Value::String(name)) => Ok(Some(name)),
            Some(other) => Err(Error::unknown("model", &other.to_string(), MODELS)),
        },
        Some(other) => {
            let text = format!("model is {other}, but it must be a table: write [model], and name = \"mlp\" below it");
            Err(Error::setting(text))
        }
    }
}

/// Reads the table, which is checked by [`name`]. Settings that it does not contain, and the name, are those of `usual`.
///
/// # Errors
/// With the unknown or invalid setting.
pub(super) fn read(stated: Option<Value>, usual: Model) -> Result<Model> {
    let Some(Value::Table(mut stated)) = stated else { return Ok(usual) };
    stated.remove("name");
    let own = to_table(&usual);
    let former: Table = FORMER.parse().expect("it is TOML");
    stated.retain(|setting, value| own.contains_key(setting) || former.get(setting) != Some(value));
    let mut all = own.clone();
    all.extend(stated.clone());
    all.try_into().map_err(|e| explain(&e, &usual, &own, &stated))
}

/// Finds the invalid setting among the `stated` ones. Errors of tagged enums do not name the field, so the settings are
/// tried one at a time, in addition to the network's `own` defaults.
fn explain(e: &toml::de::Error, usual: &Model, own: &Table, stated: &Table) -> Error {
    // Without conditions, their table is omitted.
    let conditional =
        usual.clone().with_conditions(ConditionOptions::default().classes(1)).map(|model| to_table(&model));
    let known = conditional.as_ref().unwrap_or(own);
    if let Some((setting, value)) = stated.iter().find(|(setting, _)| !known.contains_key(*setting)) {
        return not_of_this_network(usual, setting, value);
    }
    for (setting, value) in leaves(stated) {
        let mut one = own.clone();
        insert(&mut one, &setting, value);
        if let Err(e) = one.try_into::<Model>() {
            return Error::setting(format!("{} in `model.{setting}`", one_line(&e)));
        }
    }
    Error::setting(format!("{} in `model`", one_line(e)))
}

fn not_of_this_network(model: &Model, setting: &str, value: &Value) -> Error {
    let settings = |name: &str| Model::named(name).map(|model| to_table(&model)).unwrap_or_default();
    let users: Vec<&str> = MODELS.iter().copied().filter(|name| settings(name).contains_key(setting)).collect();
    let name = model.name();
    if users.is_empty() {
        let known = settings(name);
        let known: Vec<&str> = known.keys().map(String::as_str).collect();
        return Error::unknown(&format!("setting of the network {name}"), setting, &known);
    }
    Error::setting(format!(
        "model.{setting} is {value}, but the network {name} has no such setting; omit it, or use one of: {}",
        users.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{ChapterOptions, MlpOptions, SimpleOptions, UNetLevels, UNetOptions};

    fn read_named(stated: Value) -> Result<Model> {
        let usual = Model::named(name(Some(&stated))?.unwrap_or("mlp"))?;
        read(Some(stated), usual)
    }

    fn parse(text: &str) -> Result<Model> {
        read_named(Value::Table(text.parse().unwrap()))
    }

    #[test]
    fn every_network_reads_back() {
        for name in MODELS {
            let model = Model::named(name).unwrap().for_sample(&[32]);
            assert_eq!(read_named(Value::Table(to_table(&model))).unwrap(), model);
        }
    }

    #[test]
    fn a_network_writes_only_its_own_settings() {
        let keys = |name: &str| to_table(&Model::named(name).unwrap()).keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(keys("simple"), "activation_noise dropout name width");
        let step = "encoding flip_sin_to_cos frequency_shift learned_steps";
        assert_eq!(keys("chapter"), format!("activation_noise dropout {step} name step_encoding width"));
    }

    #[test]
    fn omitted_settings_have_the_defaults_of_the_network() {
        assert_eq!(parse("").unwrap(), MlpOptions::default().into());
        let chapter = ChapterOptions { width: 7, ..ChapterOptions::default() };
        assert_eq!(parse("name = \"chapter\"\nwidth = 7").unwrap(), chapter.into());
        let levels = UNetLevels { heads: 2, ..UNetLevels::default() };
        let unet = UNetOptions { levels, ..UNetOptions::default() };
        assert_eq!(parse("name = \"unet\"\n[unet]\nheads = 2").unwrap(), unet.into());
    }

    #[test]
    fn settings_of_earlier_versions_are_dropped_if_they_have_their_former_values() {
        assert_eq!(parse(&format!("name = \"simple\"\n{FORMER}")).unwrap(), SimpleOptions::default().into());
        for (setting, users) in [("depth = 2", "mlp, unet"), ("layer_norm = false", "mlp"), ("residual = 1", "mlp")] {
            let message = parse(&format!("name = \"chapter\"\n{setting}")).unwrap_err().to_string();
            let value = setting.replace(" = ", " is ");
            assert!(message.contains(&format!("model.{value}, but the network chapter")), "{message}");
            assert!(message.ends_with(&format!("use one of: {users}")), "{message}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, cause) in [
            ("name = \"nope\"", "there are: mlp, chapter"),
            ("name = 3", "unknown model \"3\""),
            ("width = -4", "expected a whole number of 0 or more in `model.width`"),
            ("width.x = 4", "in `model.width.x`"),
            ("dropout = \"much\"", "in `model.dropout`"),
            ("activation = \"nope\"", "there are: none, relu, silu"),
            ("step_encoding = \"nope\"", "sinusoidal, halves, learned, fourier"),
            ("widht = 4", "unknown setting of the network mlp \"widht\"; there are: activation"),
            ("[unet]\nheads = 2", "model.unet is { heads = 2 }, but the network mlp"),
            ("name = \"unet\"\n[unet]\nheads = \"x\"", "in `model.unet.heads`"),
            ("name = \"unet\"\n[unet]\nlevels = 2", "unknown field `levels`"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(cause) && !message.contains('\n'), "{text}: {message}");
        }
        let message = read_named(Value::String("unet".into())).unwrap_err().to_string();
        assert!(message.contains("write [model]"), "{message}");
    }
}
