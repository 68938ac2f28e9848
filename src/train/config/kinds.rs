//! The settings that are one of several names.

use serde::{Deserialize, Serialize};

use crate::diffusion::Prediction;

/// What a network is trained for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Task {
    /// A diffusion model, which generates samples.
    #[default]
    Diffusion,
    /// A denoiser for noise of one kind and strength, which predicts the clean samples.
    Denoise,
    /// A diffusion model that is given the known values of incomplete samples, and generates the others.
    Complete,
}

named!(Task, "task", Diffusion = "diffusion", Denoise = "denoise", Complete = "complete");

/// A kind of training objective.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ObjectiveKind {
    /// Discrete steps of a noise schedule (Ho et al. 2020).
    #[default]
    Ddpm,
    /// Rectified flow, see [`Objective::flow`](crate::diffusion::Objective::flow).
    Flow,
    /// EDM, see [`Objective::edm`](crate::diffusion::Objective::edm).
    Edm,
}

named!(ObjectiveKind, "objective", Ddpm = "ddpm", Flow = "flow" | "rectified_flow", Edm = "edm");

impl ObjectiveKind {
    /// The prediction that defines the objective.
    pub(super) fn prediction(self) -> Option<Prediction> {
        match self {
            Self::Ddpm => None,
            Self::Flow => Some(Prediction::Flow),
            Self::Edm => Some(Prediction::Edm),
        }
    }
}

/// A noise schedule by name, see [`Schedule::named`](crate::diffusion::Schedule::named).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ScheduleKind {
    /// [`Schedule::linear`](crate::diffusion::Schedule::linear).
    #[default]
    Linear,
    /// [`Schedule::scaled_linear`](crate::diffusion::Schedule::scaled_linear).
    ScaledLinear,
    /// [`Schedule::cosine`](crate::diffusion::Schedule::cosine).
    Cosine,
    /// [`Schedule::sigmoid`](crate::diffusion::Schedule::sigmoid).
    Sigmoid,
    /// [`Schedule::sigmoid_alphabar`](crate::diffusion::Schedule::sigmoid_alphabar).
    SigmoidAlphaBar,
    /// [`Schedule::linear_scaled_t`](crate::diffusion::Schedule::linear_scaled_t).
    LinearScaledT,
}

named!(
    ScheduleKind,
    "schedule",
    Linear = "linear",
    ScaledLinear = "scaled_linear" | "scaled-linear",
    Cosine = "cosine",
    Sigmoid = "sigmoid",
    SigmoidAlphaBar = "sigmoid_alphabar" | "sigmoid-alphabar",
    LinearScaledT = "linear_scaled_T" | "linear-scaled-T" | "linear_scaled_t" | "linear-scaled-t",
);

/// The normalisation of the data.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Normalise {
    /// Mean 0, standard deviation 1.
    Standard,
    /// Minimum -1, maximum 1.
    Range,
}

named!(Normalise, "normalisation", Standard = "standard", Range = "range");
