//! Schedule tables, time steps and Karras sigmas, which are made in f64 on the host.

use langevin::diffusion::{Schedule, karras_sigmas, timesteps};

use super::{Outcome, Outputs, flag, has_setting, number, number_or, text, unsupported, whole};
use crate::golden::manifest::Case;

pub fn compute(case: &Case, got: &mut Outputs) -> Outcome {
    if has_setting(case, "kind") {
        return tables(case, got);
    }
    if has_setting(case, "sigma_min") {
        let [low, high, rho] = [number(case, "sigma_min")?, number(case, "sigma_max")?, number(case, "rho")?];
        got.insert("sigmas".into(), karras_sigmas(whole(case, "n")?, low, high, rho)?);
        return Ok(());
    }
    if has_setting(case, "spacing") {
        let [steps, n, offset] = [whole(case, "T")?, whole(case, "N")?, whole(case, "steps_offset")?];
        let ts = timesteps(text(case, "spacing")?.parse()?, steps, n, offset)?;
        got.insert("timesteps".into(), ts.into_iter().map(|t| t as f64).collect());
        return Ok(());
    }
    unsupported(format!("{case}: neither a schedule, nor sigmas, nor time steps"))
}

/// The schedule a case names: `kind`, `T`, and where they are given its ends and the shift to zero terminal SNR.
pub fn schedule_of(case: &Case) -> Outcome<Schedule> {
    let ends = [number_or(case, "beta_start", 1e-4)?, number_or(case, "beta_end", 0.02)?];
    let schedule = Schedule::with_ends(text(case, "kind")?, whole(case, "T")?, ends[0], ends[1])?;
    let shifted = has_setting(case, "zero_terminal_snr") && flag(case, "zero_terminal_snr")?;
    Ok(if shifted { schedule.zero_terminal_snr()? } else { schedule })
}

fn tables(case: &Case, got: &mut Outputs) -> Outcome {
    let schedule = schedule_of(case)?;
    let each = |f: &dyn Fn(usize) -> f64| (0..schedule.steps()).map(f).collect::<Vec<f64>>();
    got.insert("betas".into(), schedule.betas().to_vec());
    got.insert("alphas".into(), each(&|t| 1.0 - schedule.betas()[t]));
    got.insert("alphas_cumprod".into(), schedule.alpha_bars().to_vec());
    got.insert("posterior_variance".into(), each(&|t| schedule.posterior_variance(t)));
    got.insert("posterior_coef_x0".into(), each(&|t| schedule.posterior_coef_x0(t)));
    got.insert("posterior_coef_xt".into(), each(&|t| schedule.posterior_coef_xt(t)));
    got.insert("posterior_log_variance_clipped".into(), each(&|t| schedule.posterior_log_variance_clipped(t)));
    Ok(())
}
