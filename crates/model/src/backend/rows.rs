//! Where the logits of a pass are put.

use std::fmt::Debug;
use std::ops::Deref;

/// Memory of this machine that a device writes to.
pub trait HostMemory: Debug + Send {
    /// Its numbers.
    fn numbers(&self) -> &[f32];

    /// Its numbers, to be written.
    fn numbers_mut(&mut self) -> &mut [f32];
}

/// Rows of logits, kept from pass to pass. A GPU copies several times as fast to memory that it has locked, so the
/// memory is the backend's choice.
#[derive(Debug)]
pub struct LogitRows(Place);

#[derive(Debug)]
enum Place {
    Plain(Vec<f32>),
    Shared {
        memory: Box<dyn HostMemory>,
        /// Numbers that the last pass wrote.
        length: usize,
    },
}

impl Default for LogitRows {
    fn default() -> Self {
        Self(Place::Plain(Vec::new()))
    }
}

impl Deref for LogitRows {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Place::Plain(numbers) => numbers,
            Place::Shared { memory, length } => &memory.numbers()[..*length],
        }
    }
}

impl LogitRows {
    /// An empty vector to be filled.
    pub fn plain(&mut self) -> &mut Vec<f32> {
        self.clear();
        self.vector()
    }

    /// The vector, made where the memory is of a device's.
    fn vector(&mut self) -> &mut Vec<f32> {
        if let Place::Shared { .. } = self.0 {
            self.0 = Place::Plain(Vec::new());
        }
        match &mut self.0 {
            Place::Plain(numbers) => numbers,
            Place::Shared { .. } => unreachable!("replaced above"),
        }
    }

    /// Room for so many numbers. What stands in it is what stood there before, or zeros.
    pub fn room(&mut self, count: usize) -> &mut [f32] {
        let numbers = self.vector();
        numbers.resize(count, 0.0);
        numbers
    }

    /// Forgets all rows and keeps their memory.
    pub fn clear(&mut self) {
        match &mut self.0 {
            Place::Plain(numbers) => numbers.clear(),
            Place::Shared { length, .. } => *length = 0,
        }
    }

    /// Room for so many numbers in memory of the device's, made by `make` where there is none that is large enough.
    /// What stands in it is what stood there before.
    ///
    /// # Errors
    /// That of `make`.
    pub fn shared<E>(
        &mut self,
        count: usize,
        make: impl FnOnce(usize) -> Result<Box<dyn HostMemory>, E>,
    ) -> Result<&mut [f32], E> {
        let fits = matches!(&self.0, Place::Shared { memory, .. } if memory.numbers().len() >= count);
        if !fits {
            self.0 = Place::Shared { memory: make(count.next_power_of_two())?, length: 0 };
        }
        match &mut self.0 {
            Place::Shared { memory, length } => {
                *length = count;
                Ok(&mut memory.numbers_mut()[..count])
            }
            Place::Plain(_) => unreachable!("replaced above"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl HostMemory for Vec<f32> {
        fn numbers(&self) -> &[f32] {
            self
        }

        fn numbers_mut(&mut self) -> &mut [f32] {
            self
        }
    }

    #[test]
    fn memory_is_made_once_and_shows_what_the_last_pass_wrote() {
        let mut rows = LogitRows::default();
        let mut made = 0;
        for count in [3, 4, 2, 9] {
            let room: Result<_, ()> = rows.shared(count, |wanted| {
                made += 1;
                Ok(Box::new(vec![0.0; wanted]))
            });
            room.unwrap().fill(count as f32);
            assert_eq!(*rows, vec![count as f32; count]);
        }
        assert_eq!(made, 2);
        rows.clear();
        assert!(rows.is_empty());
        rows.plain().push(1.0);
        assert_eq!(*rows, [1.0]);
        assert_eq!(rows.room(2), [1.0, 0.0]);
        assert_eq!(rows.room(1), [1.0]);
        assert!(rows.shared(1, |_| Err("no memory")).is_err());
        assert_eq!(*rows, [1.0]);
    }
}
