//! What actions cost an organisation whose hosts are those of a scenario.

use std::collections::BTreeSet;

use countermove_incident::{Asset, MinuteTable};

use crate::Truth;

/// The table with an asset for each host of the system, as an inventory would list them: how much depends on a host is
/// its criticality. Hosts that the table knows by any of their names stay as they are.
pub fn with_inventory(table: &MinuteTable, truth: &Truth) -> MinuteTable {
    let known = |name: &str| name.trim().to_lowercase();
    let mut seen: BTreeSet<String> =
        table.assets.iter().flat_map(|asset| &asset.names).map(|name| known(name)).collect();
    let mut table = table.clone();
    for host in &truth.hosts {
        if host.names().any(|name| seen.contains(&known(name))) {
            continue;
        }
        let names: Vec<String> =
            host.names().filter(|name| seen.insert(known(name))).map(str::to_owned).collect();
        table.assets.push(Asset { names, criticality: f64::from(host.criticality) });
    }
    table
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use countermove_incident::{CostModel, MinuteCost, RecoveryState};

    use super::*;
    use crate::{Generator, GeneratorOptions, Vocabulary};

    #[test]
    fn an_outage_weighs_what_depends_on_the_host() {
        let scenario =
            Generator::new(&Vocabulary::builtin(), GeneratorOptions::default()).unwrap().scenario(3);
        let sample = include_str!("../../../../deploy/costs.toml");
        let table = with_inventory(&MinuteTable::parse(sample).unwrap(), &scenario.truth);
        table.validate().unwrap();
        let cost = MinuteCost::new(Arc::new(table.clone()), &[]);
        let none = RecoveryState::default();
        let contain = table.actions[&countermove_incident::VerbClass::Contain];
        for host in &scenario.truth.hosts {
            let minutes = cost.cost(none, &format!("Isolate {} from the network.", host.address), none);
            assert_eq!(minutes, contain.work + contain.outage * f64::from(host.criticality), "{}", host.name);
        }
        assert_eq!(with_inventory(&table, &scenario.truth), table, "what is known stays");
    }
}
