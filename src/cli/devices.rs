//! `langevin devices`

use std::process::ExitCode;

use crate::device::no_adapter;
use crate::{Device, adapters};
use serde_json::json;

use super::Common;

pub fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let found = adapters();
    let chosen = match &common.device {
        Some(name) => Device::named(name)?,
        None => Device::auto()?,
    };
    if common.json {
        let list: Vec<_> = found
            .iter()
            .enumerate()
            .map(|(index, a)| {
                json!({"index": index, "name": a.name, "backend": a.backend, "driver": a.driver,
                       "kind": a.kind.to_string(), "max_binding_bytes": a.max_binding,
                       "storage_buffers": a.max_buffers, "subgroup": a.subgroup, "f16": a.f16})
            })
            .collect();
        say!("{}", json!({"adapters": list, "chosen": chosen.name(), "why": chosen.to_string()}));
        return Ok(ExitCode::SUCCESS);
    }
    if found.is_empty() {
        say!("{}", no_adapter());
    }
    for (index, a) in found.iter().enumerate() {
        say!("{index}: {} ({}, {}), a {}", a.name, a.backend, a.driver, a.kind);
        let subgroup = match a.subgroup {
            Some((low, high)) if low == high => format!("subgroups of {low}"),
            Some((low, high)) => format!("subgroups of {low} to {high}"),
            None => "no subgroups".into(),
        };
        let f16 = if a.f16 { "f16" } else { "no f16" };
        let binding = a.max_binding >> 20;
        say!("   bindings up to {binding} MiB, {} storage buffers per dispatch, {subgroup}, {f16}", a.max_buffers);
    }
    say!("cpu: CPU executor, f32 on all cores\nreference: CPU executor in f64, slow");
    say!("chosen: {chosen}");
    Ok(ExitCode::SUCCESS)
}
