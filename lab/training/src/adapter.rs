//! The adapter in training: factors of low rank for projections, as they are stepped and as they are multiplied with.
//!
//! A projection W (outputs × inputs) becomes W + scale · B · A with A: rank × inputs and B: outputs × rank. Here B lies
//! turned, rank × outputs, so both factors' gradients come out of the same kind of product.

use std::path::Path;

use candle_core::{Device, Tensor};
use countermove_model::{BaseModel, Factors, Part, Role};

use crate::error::TrainError;
use crate::kernels::{Frozen, Kernels};
use crate::random::Random;

/// Projections of a layer, in the order that parameters have.
pub(crate) const PARTS: [Part; 7] = BaseModel::PROJECTIONS;

/// One projection's factors.
#[derive(Clone, Debug)]
pub(crate) struct Module {
    /// Layer and place in [`PARTS`].
    pub(crate) layer: usize,
    pub(crate) part: usize,
    /// Rank × inputs.
    pub(crate) a: Tensor,
    /// Rank × outputs.
    pub(crate) b: Tensor,
}

impl Module {
    pub(crate) fn role(&self) -> Role {
        Role::Layer(self.layer, PARTS[self.part])
    }
}

/// Trainable parameters: two for each module, A before B.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    pub(crate) rank: usize,
    pub(crate) scale: f32,
    pub(crate) modules: Vec<Module>,
}

/// Factors made ready for products, for the module of each layer and part.
#[derive(Debug)]
pub(crate) struct Ready {
    parts: usize,
    modules: Vec<Option<ReadyModule>>,
}

/// One module, ready.
#[derive(Debug)]
pub(crate) struct ReadyModule {
    /// Place among the adapter's modules.
    pub(crate) index: usize,
    /// A: forward x · Aᵀ, backward du · A.
    pub(crate) down: Frozen,
    /// scale · Bᵀ, as it lies: forward dy · scale · B, backward u · scale · Bᵀ. So forward goes back through the module.
    pub(crate) up: Frozen,
}

impl Ready {
    pub(crate) fn get(&self, layer: usize, part: usize) -> Option<&ReadyModule> {
        self.modules.get(layer * self.parts + part)?.as_ref()
    }
}

impl Adapter {
    /// A new adapter that changes nothing yet: A as PEFT draws it, uniform in ±1/√inputs, and B zero.
    pub(crate) fn new(
        base: &BaseModel,
        rank: usize,
        scale: f32,
        targets: &[Part],
        seed: u64,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let mut modules = Vec::new();
        for layer in 0..base.config().layers {
            for (part, &target) in PARTS.iter().enumerate() {
                let Some((rows, columns)) =
                    base.shape(Role::Layer(layer, target)).filter(|_| targets.contains(&target))
                else {
                    continue;
                };
                let mut random = Random::of(&[seed, 1, layer as u64, part as u64]);
                let bound = 1.0 / (columns as f32).sqrt();
                let a: Vec<f32> = (0..rank * columns).map(|_| random.symmetric() * bound).collect();
                modules.push(Module {
                    layer,
                    part,
                    a: Tensor::from_vec(a, (rank, columns), device)?,
                    b: Tensor::zeros((rank, rows), candle_core::DType::F32, device)?,
                });
            }
        }
        Ok(Self { rank, scale, modules })
    }

    /// An adapter as a folder holds it.
    ///
    /// # Errors
    /// [`TrainError::Data`] if its ranks or scales differ from projection to projection.
    pub(crate) fn read(base: &BaseModel, folder: &Path, device: &Device) -> Result<Self, TrainError> {
        let all = base.read_adapter(folder)?;
        let (rank, scale) = all.first().map_or((0, 0.0), |(_, factors)| (factors.rank, factors.scale));
        let data = |reason: &str| TrainError::Data { path: folder.to_path_buf(), reason: reason.to_owned() };
        if !rank.is_multiple_of(2) {
            return Err(data("training goes on from adapters of even rank only"));
        }
        let mut modules = Vec::new();
        for (role, factors) in all {
            let Role::Layer(layer, kind) = role else { continue };
            let Some(part) = PARTS.iter().position(|&part| part == kind) else { continue };
            if factors.rank != rank || factors.scale != scale {
                return Err(data("its projections have different ranks or scales"));
            }
            let (inputs, outputs) = (factors.a.len() / rank, factors.b.len() / rank);
            let b = Tensor::from_vec(factors.b, (outputs, rank), device)?.t()?.contiguous()?;
            modules.push(Module { layer, part, a: Tensor::from_vec(factors.a, (rank, inputs), device)?, b });
        }
        Ok(Self { rank, scale, modules })
    }

    /// Numbers to train.
    pub(crate) fn parameters(&self) -> usize {
        self.modules.iter().map(|module| module.a.elem_count() + module.b.elem_count()).sum()
    }

    /// The factors as files hold them.
    pub(crate) fn factors(&self) -> Result<Vec<(Role, Factors)>, TrainError> {
        let factors = |module: &Module| -> Result<Factors, TrainError> {
            Ok(Factors {
                rank: self.rank,
                scale: self.scale,
                // Reading a part of a tensor would bring all that it is a part of.
                a: module.a.force_contiguous()?.flatten_all()?.to_vec1()?,
                b: module.b.t()?.contiguous()?.flatten_all()?.to_vec1()?,
            })
        };
        self.modules.iter().map(|module| Ok((module.role(), factors(module)?))).collect()
    }

    /// Makes the factors ready for a step.
    pub(crate) fn ready(&self, kernels: &dyn Kernels) -> Result<Ready, TrainError> {
        let layers = self.modules.iter().map(|module| module.layer + 1).max().unwrap_or(0);
        let factors = self.modules.iter().flat_map(|module| [(&module.a, 1.0), (&module.b, self.scale)]);
        let mut prepared = kernels.prepare(&factors.collect::<Vec<_>>())?.into_iter();
        let mut ready: Vec<Option<ReadyModule>> = (0..layers * PARTS.len()).map(|_| None).collect();
        for (index, module) in self.modules.iter().enumerate() {
            if let (Some(down), Some(up)) = (prepared.next(), prepared.next()) {
                ready[module.layer * PARTS.len() + module.part] = Some(ReadyModule { index, down, up });
            }
        }
        Ok(Ready { parts: PARTS.len(), modules: ready })
    }
}
