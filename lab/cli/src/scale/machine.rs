//! How fast a simulated worker is.
//!
//! A pass of the engine takes a time for itself and a time for each row, and every sequence brings some rows to a pass, since formats
//! leave little choice. Rows of prompts cost what rows of answers cost (docs/benchmarks.md). So n sequences together get
//! n · rows / (pass + n · rows · row) tokens a second, in equal shares.

/// A worker's speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Machine {
    /// Seconds of a pass without rows.
    pub(super) pass: f64,
    /// Seconds of a row.
    pub(super) row: f64,
    /// Rows that a sequence brings to a pass.
    pub(super) rows: f64,
    /// Sequences in a batch.
    pub(super) capacity: u32,
}

impl Machine {
    /// The default model on two threads of one core: 8 ms a pass, 0.8 ms a token, 70 tokens a sequence.
    pub(super) const CPU: Self = Self { pass: 0.008, row: 0.0008, rows: 70.0, capacity: 32 };
    /// A model of 14 billion weights on an H200: passes of 27 and of 1,323 rows take 14.1 and 91 ms.
    pub(super) const GPU: Self = Self { pass: 0.0125, row: 0.000_059_3, rows: 49.0, capacity: 32 };

    /// One that takes so many times as long.
    pub(super) fn slower(self, times: f64) -> Self {
        Self { pass: self.pass * times, row: self.row * times, ..self }
    }

    /// Tokens a second that each of `sequences` gets.
    pub(super) fn each(&self, sequences: usize) -> f64 {
        self.rows / (self.pass + sequences as f64 * self.rows * self.row)
    }

    /// Tokens a second of all of them.
    pub(super) fn together(&self, sequences: usize) -> f64 {
        sequences as f64 * self.each(sequences)
    }

    /// Tokens a second of a full batch.
    pub(super) fn most(&self) -> f64 {
        self.together(self.capacity as usize)
    }

    /// Sequences with which a batch is nine tenths as fast as a full one, as workers measure it.
    pub(super) fn efficient(&self) -> u32 {
        (1..self.capacity)
            .find(|&count| self.together(count as usize) >= 0.9 * self.most())
            .unwrap_or(self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_are_those_that_were_measured() {
        let passes = |machine: Machine, rows: f64| (machine.pass + rows * machine.row) * 1000.0;
        assert!(
            (passes(Machine::GPU, 27.0) - 14.1).abs() < 0.1
                && (passes(Machine::GPU, 1323.0) - 91.0).abs() < 0.1
        );
        assert!(
            (passes(Machine::GPU, 4096.0) / 4096.0 - 1000.0 / 18_850.0).abs() < 0.01,
            "a prompt, read at once"
        );
        assert_eq!((Machine::CPU.efficient(), Machine::GPU.efficient()), (2, 17));
    }
}
