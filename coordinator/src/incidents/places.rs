//! How many incidents are planned at a time, and whose. Pure.
//!
//! A quarter of the places is kept for tenants that have few: once three quarters are taken, a tenant that holds a quarter or
//! more of all places gets no further one. So no tenant holds more than three quarters, and another one that comes finds a
//! place, however long the incidents of the first wait for an answer.

/// Why an incident finds no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All places are taken.
    All,
    /// Those that are left are kept for tenants that have fewer.
    Share,
}

/// Whether a tenant that holds `own` of `taken` places gets one more of `most`.
pub(super) fn admit(most: usize, taken: usize, own: usize) -> Result<(), Full> {
    let kept = most / 4;
    if taken >= most {
        Err(Full::All)
    } else if own >= kept && kept > 0 && taken >= most - kept {
        Err(Full::Share)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_tenant_takes_three_quarters_and_another_one_still_comes_in() {
        let mut held = [0, 0];
        while admit(20, held[0] + held[1], held[0]).is_ok() {
            held[0] += 1;
        }
        assert_eq!(held[0], 15);
        assert_eq!(admit(20, 15, 15), Err(Full::Share));
        while admit(20, held[0] + held[1], held[1]).is_ok() {
            held[1] += 1;
        }
        assert_eq!(held, [15, 5]);
        assert_eq!(admit(20, 20, 0), Err(Full::All));
    }

    proptest! {
        #[test]
        fn every_place_can_be_had_by_somebody_and_none_is_given_twice(most in 1usize..200, taken in 0usize..220, own in 0usize..220) {
            let own = own.min(taken);
            prop_assert_eq!(admit(most, taken, own) == Err(Full::All), taken >= most);
            // A tenant without any incident is refused only if all places are taken.
            prop_assert_eq!(admit(most, taken, 0).is_ok(), taken < most);
        }
    }
}
