//! All that follows a training: the display, the events, the previews and TensorBoard.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Device;
use crate::data::Dataset;
use crate::train::{Progress, RunFolder, Stop, Trainer, Watch, train_watched};

use super::TrainArgs;
use super::events::{Events, LogFormat};
use super::live::Live;
use super::previews::Previews;
use super::tensorboard::TensorBoard;

/// A training that has ended.
pub struct Watched {
    pub stop: Stop,
    /// The loss of the first step of a new run.
    pub untrained: Option<f64>,
    /// The film of the previews.
    pub film: Option<PathBuf>,
}

struct Watcher<'a> {
    stopped: &'a AtomicBool,
    live: Option<Live>,
    events: Option<Events>,
    previews: Option<Previews<'a>>,
    board: Option<TensorBoard>,
    untrained: Option<f64>,
}

impl Watcher<'_> {
    fn take_preview(&mut self, step: u32, picture: PathBuf) -> crate::Result<()> {
        if let Some(events) = &self.events {
            events.preview(step, &picture);
        }
        self.board.as_mut().map_or(Ok(()), |board| board.image(step, "preview", &picture))
    }
}

impl Watcher<'_> {
    /// Draws the preview of the last step, and returns the film of all.
    fn finish(&mut self, trainer: &mut Trainer) -> crate::Result<Option<PathBuf>> {
        if let Some(picture) = self.previews.as_mut().and_then(|previews| previews.draw_last(trainer)) {
            self.take_preview(trainer.step(), picture)?;
        }
        Ok(self.previews.as_ref().and_then(Previews::film))
    }
}

impl Watch for Watcher<'_> {
    fn progress(&mut self, progress: &Progress) -> bool {
        if progress.step == 1 {
            self.untrained = Some(progress.loss);
        }
        if let Some(live) = &self.live {
            live.show(progress);
        }
        if let Some(events) = &mut self.events {
            events.progress(progress);
        }
        !self.stopped.load(Ordering::Relaxed)
    }

    fn row(&mut self, header: &str, row: &str) -> crate::Result<()> {
        self.board.as_mut().map_or(Ok(()), |board| board.row(header, row))
    }

    fn state(&mut self, trainer: &mut Trainer) -> crate::Result<()> {
        match self.previews.as_mut().and_then(|previews| previews.draw_if_due(trainer)) {
            Some(picture) => self.take_preview(trainer.step(), picture),
            None => Ok(()),
        }
    }

    fn until_state(&self, step: u32) -> u32 {
        self.previews.as_ref().map_or(u32::MAX, |previews| previews.until(step))
    }
}

/// Trains, and shows the progress. `shown` are samples of the data for the previews.
pub fn watched(
    args: &TrainArgs,
    (folder, device): (&RunFolder, &Device),
    trainer: &mut Trainer,
    shown: &Dataset,
    stopped: &AtomicBool,
) -> crate::Result<Watched> {
    let (step, steps) = (trainer.step(), trainer.config().steps);
    let live = (!args.common.json && !args.quiet && step < steps).then(|| Live::new(step, steps));
    let events = (args.log == LogFormat::Jsonl).then(|| Events::start(&folder.file(""), trainer));
    let previews = Previews::new(args.preview, (device, folder), shown, stopped)?;
    let board = args.tensorboard && step < steps;
    let board = board.then(|| TensorBoard::create(&folder.file(""), step)).transpose()?;
    let mut watcher = Watcher { stopped, live, events, previews, board, untrained: None };
    let stop = train_watched(folder, trainer, &mut watcher);
    // The display ends before anything else is printed.
    watcher.live = None;
    let stop = stop?;
    let ended = stop != Stop::Requested && trainer.step() > step;
    let film = if ended { watcher.finish(trainer)? } else { None };
    Ok(Watched { stop, untrained: watcher.untrained, film })
}
