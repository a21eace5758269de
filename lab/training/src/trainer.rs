//! The run: data and base in, an adapter out.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::quantized::GgmlDType;
use countermove_model::{BaseModel, Device, DeviceWeights};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::adapter::Adapter;
use crate::batches::epoch;
use crate::checkpoint::{self, Counters};
use crate::data::{self, DataReport, Example, Reading};
use crate::decoder::Decoder;
use crate::error::TrainError;
use crate::kernels::cpu::CpuKernels;
#[cfg(feature = "cuda")]
use crate::kernels::cuda::CudaKernels;
use crate::kernels::{CandleKernels, Kernels};
use crate::learner::{Learner, StepSettings};
use crate::optimiser::rate;
use crate::pack::{Pack, pack};
use crate::peft;
use crate::random::Random;
use crate::settings::{Precision, TrainSettings};

/// File of the checkpoint in the output folder.
const CHECKPOINT: &str = "checkpoint.safetensors";
/// File of the log in the output folder.
pub const LOG: &str = "log.jsonl";
/// Tokens of which the speed is the mean.
const SPEED_STEPS: usize = 20;

/// What a run reads and writes.
#[derive(Clone, Debug)]
pub struct TrainFiles {
    /// Training data.
    pub train: Vec<PathBuf>,
    /// Validation data; may be empty.
    pub validation: Vec<PathBuf>,
    /// Folder of the adapter, its checkpoint and its log.
    pub out: PathBuf,
    /// Name of the base as the adapter's configuration has it.
    pub base_name: String,
}

/// News of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TrainEvent {
    /// What is trained on what, before the first step.
    Begins {
        /// Training data.
        train: DataReport,
        /// Validation data.
        validation: DataReport,
        /// Numbers to train.
        parameters: usize,
        /// Optimisation steps of the whole run; fewer if the time limit comes first.
        steps: usize,
        /// Steps that a checkpoint has done already.
        done: usize,
        /// Type that products are computed in.
        precision: &'static str,
    },
    /// A step was done.
    Step {
        /// Its number, from one.
        step: usize,
        /// Mean loss of its answer tokens, in nats.
        loss: f64,
        /// Its learning rate.
        rate: f64,
        /// Norm of its gradient before clipping.
        norm: f64,
        /// Tokens computed since the run began, a shared prefix once.
        tokens: u64,
        /// Tokens of the examples a second, shared prefixes counted for each example, over the last steps.
        example_tokens_per_second: f64,
        /// Tokens computed a second, over the last steps.
        tokens_per_second: f64,
        /// Seconds since the run began, those before a checkpoint included.
        seconds: f64,
        /// Seconds that are left, at this speed.
        left: f64,
    },
    /// The validation data was looked at.
    Validation {
        /// After this step.
        step: usize,
        /// Mean loss of its answer tokens, in nats.
        loss: f64,
        /// Whether it is the best so far.
        best: bool,
    },
    /// The run has ended.
    Ends {
        /// Steps done.
        steps: usize,
        /// Why.
        reason: EndReason,
        /// Seconds of all steps.
        seconds: f64,
        /// Tokens computed.
        tokens: u64,
        /// Best validation loss, whose adapter was written; without validation data the last one was.
        best: Option<f64>,
    },
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// All steps are done.
    Done,
    /// The time limit came.
    TimeLimit,
    /// The validation loss fell no more.
    EarlyStop,
    /// The caller asked for it; a checkpoint was written.
    Interrupted,
}

/// What the caller says to news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// Go on.
    On,
    /// Write a checkpoint and end.
    Stop,
}

/// A run, ready to start.
#[derive(Debug)]
pub struct Trainer {
    settings: TrainSettings,
    files: TrainFiles,
    learner: Learner,
    progress: Counters,
    train: Vec<Example>,
    validation: Vec<Pack>,
    reports: [DataReport; 2],
    fingerprint: String,
}

impl Trainer {
    /// Reads data and base and, if the output folder has a checkpoint, goes on from it.
    ///
    /// # Errors
    /// See [`TrainError`].
    pub fn new(
        base: &BaseModel,
        device: Device,
        settings: TrainSettings,
        files: TrainFiles,
    ) -> Result<Self, TrainError> {
        settings.check()?;
        keep_memory();
        let length = settings.length.min(base.config().context_length);
        let reading = Reading {
            base,
            thinking: settings.thinking,
            length,
            tasks: &settings.tasks,
            limit: settings.examples,
        };
        let (train, train_report) = data::read(&files.train, &reading)?;
        if train.is_empty() {
            let path = files.train.first().cloned().unwrap_or_default();
            return Err(TrainError::Data { path, reason: "it holds no example to train on".to_owned() });
        }
        let reading = Reading { limit: None, ..reading };
        let (validation, mut validation_report) = data::read(&files.validation, &reading)?;
        let (validation, shown) = sample(&validation, &settings);
        validation_report.examples = shown;
        let kernels = kernels(device, settings.precision, base.config().head_dim)?;
        let decoder = Decoder::load(base, kernels, settings.recompute)?;
        let device = decoder.kernels().device();
        let scale = settings.alpha / settings.rank as f32;
        let adapter = match &settings.start {
            Some(folder) => Adapter::read(base, folder, device)?,
            None => Adapter::new(base, settings.rank, scale, &settings.targets, settings.seed, device)?,
        };
        let fingerprint = fingerprint(base, &settings, &train)?;
        let checkpoint = files.out.join(CHECKPOINT);
        let mut learner = Learner::new(decoder, adapter)?;
        let progress = if checkpoint.is_file() {
            checkpoint::read(&checkpoint, &mut learner, &fingerprint)?
        } else {
            Counters::default()
        };
        let reports = [train_report, validation_report];
        Ok(Self { settings, files, learner, progress, train, validation, reports, fingerprint })
    }

    /// Counts of the training and the validation data.
    pub fn reports(&self) -> &[DataReport; 2] {
        &self.reports
    }

    /// Trains until the end. `on_event` hears the news, which the log gets as well, and may end the run.
    ///
    /// # Errors
    /// See [`TrainError`].
    pub fn run(&mut self, on_event: &mut dyn FnMut(&TrainEvent) -> Go) -> Result<EndReason, TrainError> {
        let out = self.files.out.clone();
        std::fs::create_dir_all(&out).map_err(TrainError::io(&out))?;
        let mut log = Log::open(&out.join(LOG), self.progress.step)?;
        let mut order = Order::new(&self.settings, self.train.len());
        let steps = order.steps;
        let begins = TrainEvent::Begins {
            train: self.reports[0].clone(),
            validation: self.reports[1].clone(),
            parameters: self.learner.adapter.parameters(),
            steps,
            done: self.progress.step,
            precision: match self.learner.decoder.kernels().dtype() {
                candle_core::DType::BF16 => "bf16",
                _ => "f32",
            },
        };
        let mut go = log.tell(&begins, on_event)?;
        let mut speed = Speed::default();
        let reason = loop {
            if self.progress.step >= steps {
                break EndReason::Done;
            }
            if self.time_share() >= 1.0 {
                break EndReason::TimeLimit;
            }
            if go == Go::Stop {
                break EndReason::Interrupted;
            }
            let begun = Instant::now();
            let indices = order.batch(&self.train, &self.settings, self.progress.step);
            let examples: Vec<&Example> = indices.iter().map(|&index| &self.train[index]).collect();
            let settings = self.step_settings(self.progress.step + 1, steps);
            let done = self.learner.step(&examples, settings)?;
            self.progress.step = settings.number;
            self.progress.tokens += done.rows as u64;
            let seconds = begun.elapsed().as_secs_f64();
            self.progress.seconds += seconds;
            speed.add(seconds, done.rows, done.tokens);
            let step = self.progress.step;
            let event = TrainEvent::Step {
                step,
                loss: done.loss,
                rate: settings.rate,
                norm: done.norm,
                tokens: self.progress.tokens,
                example_tokens_per_second: speed.example_tokens(),
                tokens_per_second: speed.rows(),
                seconds: self.progress.seconds,
                left: self.left(steps, speed.seconds()),
            };
            go = log.tell(&event, on_event)?;
            let is_last = step == steps || self.time_share() >= 1.0;
            let is_due = step.is_multiple_of(self.settings.validate_every) || is_last;
            let mut is_better = false;
            if is_due && !self.validation.is_empty() {
                let loss = self.learner.loss(&self.validation)?;
                is_better = self.progress.best.is_none_or(|best| loss < best);
                if is_better {
                    self.progress.best = Some(loss);
                    self.progress.looks = 0;
                } else {
                    self.progress.looks += 1;
                }
                if log.tell(&TrainEvent::Validation { step, loss, best: is_better }, on_event)? == Go::Stop {
                    go = Go::Stop;
                }
            }
            if is_better || (self.validation.is_empty() && is_last) {
                self.write_adapter()?;
            }
            let is_stopped = self.settings.patience.is_some_and(|patience| self.progress.looks > patience);
            if step.is_multiple_of(self.settings.checkpoint_every) || is_last || go == Go::Stop || is_stopped
            {
                let path = out.join(CHECKPOINT);
                checkpoint::write(&path, &self.learner, &self.progress, &self.fingerprint)?;
            }
            if is_stopped {
                break EndReason::EarlyStop;
            }
        };
        // A run that is cut off before its first validation still leaves what it has.
        if self.progress.best.is_none() {
            self.write_adapter()?;
        }
        let ends = TrainEvent::Ends {
            steps: self.progress.step,
            reason,
            seconds: self.progress.seconds,
            tokens: self.progress.tokens,
            best: self.progress.best,
        };
        log.tell(&ends, on_event)?;
        Ok(reason)
    }

    fn step_settings(&self, number: usize, steps: usize) -> StepSettings {
        let TrainSettings { clip, decay, dropout, seed, pack_tokens, .. } = self.settings;
        StepSettings { number, rate: self.rate(number, steps), clip, decay, dropout, seed, pack_tokens }
    }

    /// Learning rate of a step. With a time limit it falls with the time, if that comes first.
    fn rate(&self, step: usize, steps: usize) -> f64 {
        let warm_up = ((steps as f64 * self.settings.warm_up).ceil() as usize).min(50);
        let by_step = rate(self.settings.rate, step, warm_up, steps);
        by_step.min(self.settings.rate * (1.0 - self.time_share()).max(0.0))
    }

    /// Share of the time limit that is over.
    fn time_share(&self) -> f64 {
        let limit = self.settings.time_limit.map(|limit| limit.as_secs_f64());
        limit.map_or(0.0, |limit| self.progress.seconds / limit.max(1e-9))
    }

    fn left(&self, steps: usize, step_seconds: f64) -> f64 {
        let by_steps = (steps - self.progress.step) as f64 * step_seconds;
        let by_time = self.settings.time_limit.map(|limit| limit.as_secs_f64() - self.progress.seconds);
        by_time.map_or(by_steps, |by_time| by_steps.min(by_time)).max(0.0)
    }

    fn write_adapter(&self) -> Result<(), TrainError> {
        let factors = self.learner.adapter.factors()?;
        let TrainSettings { dropout, stored, .. } = self.settings;
        peft::write(&self.files.out, &factors, &self.files.base_name, dropout, stored)
    }
}

/// The batches, epoch after epoch.
struct Order {
    steps: usize,
    per_epoch: usize,
    epoch: Option<(usize, Vec<Vec<usize>>)>,
}

impl Order {
    fn new(settings: &TrainSettings, examples: usize) -> Self {
        let per_epoch = examples.div_ceil(settings.batch);
        let all = per_epoch * settings.epochs;
        Self { steps: settings.steps.map_or(all, |steps| steps.min(all)), per_epoch, epoch: None }
    }

    /// Examples of the step after `done` steps.
    fn batch(&mut self, examples: &[Example], settings: &TrainSettings, done: usize) -> Vec<usize> {
        let (number, place) = (done / self.per_epoch, done % self.per_epoch);
        let known = self.epoch.take().filter(|(known, _)| *known == number);
        let (_, batches) = self.epoch.insert(known.unwrap_or_else(|| {
            (number, epoch(examples, settings.batch, settings.together, settings.seed, number as u64))
        }));
        batches.get(place).cloned().unwrap_or_default()
    }
}

/// Speed over the last steps.
#[derive(Debug, Default)]
struct Speed {
    last: Vec<(f64, usize, usize)>,
}

impl Speed {
    fn add(&mut self, seconds: f64, rows: usize, tokens: usize) {
        if self.last.len() == SPEED_STEPS {
            self.last.remove(0);
        }
        self.last.push((seconds, rows, tokens));
    }

    fn total(&self) -> f64 {
        self.last.iter().map(|step| step.0).sum::<f64>().max(1e-9)
    }

    /// Seconds of a step.
    fn seconds(&self) -> f64 {
        self.total() / self.last.len().max(1) as f64
    }

    fn rows(&self) -> f64 {
        self.last.iter().map(|step| step.1).sum::<usize>() as f64 / self.total()
    }

    fn example_tokens(&self) -> f64 {
        self.last.iter().map(|step| step.2).sum::<usize>() as f64 / self.total()
    }
}

/// The log: one JSON object a line.
struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the log; a run that begins anew begins its log anew.
    fn open(path: &Path, done: usize) -> Result<Self, TrainError> {
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .append(done > 0)
            .truncate(done == 0)
            .open(path)
            .map_err(TrainError::io(path))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    fn tell(
        &mut self,
        event: &TrainEvent,
        on_event: &mut dyn FnMut(&TrainEvent) -> Go,
    ) -> Result<Go, TrainError> {
        let mut line = serde_json::to_string(event).unwrap_or_default();
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(TrainError::io(&self.path))?;
        Ok(on_event(event))
    }
}

/// Packs of the validation examples that are looked at, and their number: a sample that depends on nothing but the data.
fn sample(examples: &[Example], settings: &TrainSettings) -> (Vec<Pack>, usize) {
    let mut chosen: Vec<&Example> = examples.iter().collect();
    Random::of(&[4]).shuffle(&mut chosen);
    chosen.truncate(settings.validation_examples);
    (pack(&chosen, settings.pack_tokens), chosen.len())
}

/// Kernels for a device and heads of a width.
fn kernels(device: Device, precision: Precision, head: usize) -> Result<Box<dyn Kernels>, TrainError> {
    let blocks = |weights: DeviceWeights| match weights {
        DeviceWeights::Bf16 | DeviceWeights::F32 => None,
        DeviceWeights::Q8_0 => Some(GgmlDType::Q8_0),
        DeviceWeights::Q4K => Some(GgmlDType::Q4K),
    };
    match device {
        Device::Cpu => {
            let bf16 = match precision {
                Precision::Auto => CpuKernels::has_bf16(),
                Precision::F32 => false,
                Precision::Bf16 if CpuKernels::has_bf16() => true,
                Precision::Bf16 => {
                    let reason = "this CPU has no instructions for products in bfloat16 (AVX-512 BF16)";
                    return Err(TrainError::Device(reason.to_owned()));
                }
            };
            Ok(Box::new(CpuKernels::new(bf16)))
        }
        Device::CandleCpu { weights } => {
            let device = candle_core::Device::Cpu;
            Ok(Box::new(CandleKernels::new(device, candle_core::DType::F32, blocks(weights))))
        }
        Device::Cuda { ordinal, weights } => {
            #[cfg(feature = "cuda")]
            {
                let device = countermove_model::gpu::open(ordinal)?;
                if weights != DeviceWeights::F32
                    && let Some(kernels) = CudaKernels::new(&device, head, blocks(weights))?
                {
                    return Ok(Box::new(kernels));
                }
                let dtype = match weights {
                    DeviceWeights::F32 => candle_core::DType::F32,
                    _ => candle_core::DType::BF16,
                };
                Ok(Box::new(CandleKernels::new(device, dtype, blocks(weights))))
            }
            #[cfg(not(feature = "cuda"))]
            Err(TrainError::Device(format!(
                "GPU {ordinal} ({weights}, heads of {head}) cannot be used by a program that was built without CUDA"
            )))
        }
    }
}

/// What a checkpoint must agree with: the base, the settings and the encoded examples.
fn fingerprint(base: &BaseModel, settings: &TrainSettings, train: &[Example]) -> Result<String, TrainError> {
    let mut hash = Sha256::new();
    hash.update(base.sha256()?);
    hash.update(settings.fingerprint());
    for example in train {
        hash.update((example.prompt as u64).to_le_bytes());
        example.tokens.iter().for_each(|token| hash.update(token.to_le_bytes()));
    }
    Ok(hex::encode(hash.finalize()))
}

/// Lets freed buffers of some megabytes be used again instead of going back to the system: a step allocates thousands.
fn keep_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the calls set two numbers of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}
