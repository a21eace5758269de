//! Many tensors in one: what a single launch makes for all of them.

use candle_core::{Result, Tensor};

/// Places of tensors one behind the other.
pub(super) struct Places {
    /// First number of each; aligned as the library's products like their operands.
    pub(super) firsts: Vec<usize>,
    pub(super) total: usize,
}

impl Places {
    pub(super) fn of(tensors: &[&Tensor]) -> Self {
        let mut total = 0;
        let firsts = tensors.iter().map(|tensor| {
            let first = total;
            total += tensor.elem_count().next_multiple_of(64);
            first
        });
        let firsts = firsts.collect();
        Self { firsts, total }
    }

    /// The parts of a slab, in the tensors' shapes.
    pub(super) fn views(&self, slab: &Tensor, tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
        let view = |(first, tensor): (&usize, &&Tensor)| {
            slab.narrow(0, *first, tensor.elem_count())?.reshape(tensor.shape())
        };
        self.firsts.iter().zip(tensors).map(view).collect()
    }
}
