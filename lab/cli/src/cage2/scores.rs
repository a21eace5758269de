//! What games scored, kept in a file so that a long run that was broken off is taken up again, and told as a table and a chart.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use countermove_chart::{Bar, Panel, bars};
use countermove_simulator::evaluation::{Difference, Spread};

use super::Player;
use super::rules::Rule;
use crate::args::Part;
use countermove::failure::Failure;

/// First line of a file of scores.
const HEAD: &str = "attacker\tplayer\tseed\tscore";

/// Scores by attacker, player and seed.
#[derive(Debug, Default)]
pub(super) struct Scores {
    games: BTreeMap<(String, &'static str, u64), f64>,
    path: Option<PathBuf>,
}

impl Scores {
    /// Those that a file holds, which those to come are added to; none and no file if there is no path.
    ///
    /// # Errors
    /// If the file cannot be read or written, or a line is no score.
    pub(super) fn open(path: Option<&Path>) -> Result<Scores, Failure> {
        let Some(path) = path else { return Ok(Scores::default()) };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::Input(format!("--scores {}: {error}", path.display()))),
        };
        let mut games = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| *line != HEAD) {
            let (key, score) = read(line).ok_or_else(|| {
                let want = "attacker, player, seed and score with tabs between them";
                Failure::Input(format!("--scores {}, line {number}: it has to be {want}", path.display()))
            })?;
            games.insert(key, score);
        }
        Ok(Scores { games, path: Some(path.to_owned()) })
    }

    pub(super) fn of(&self, red: &str, player: Player, seed: u64) -> Option<f64> {
        self.games.get(&(red.to_owned(), player.name(), seed)).copied()
    }

    /// Takes in the score of a game. The file is whole again when this returns.
    pub(super) fn take(&mut self, red: &str, player: Player, seed: u64, score: f64) -> Result<(), Failure> {
        self.games.insert((red.to_owned(), player.name(), seed), score);
        let Some(path) = &self.path else { return Ok(()) };
        let line = |((red, player, seed), score): (&(String, &str, u64), &f64)| {
            format!("{red}\t{player}\t{seed}\t{score:.1}\n")
        };
        let text = format!("{HEAD}\n{}", self.games.iter().map(line).collect::<String>());
        std::fs::write(path, text)
            .map_err(|error| Failure::Failed(format!("--scores {}: {error}", path.display())))
    }

    /// How many games a player had against an attacker, and what they scored.
    fn spread(&self, red: &str, player: Player) -> Option<(usize, Spread)> {
        let own = self.games.iter().filter(|((own, name, _), _)| own == red && *name == player.name());
        let scores: Vec<f64> = own.map(|(_, score)| *score).collect();
        Some((scores.len(), Spread::of(&scores)?))
    }

    /// What a part is worth, over games that were played with and without it; none if there are none.
    pub(super) fn worth(&self, part: Part) -> Option<String> {
        let with = |red: &str, seed: u64| self.of(red, Player::Countermove(None), seed);
        let is_without = |name: &str| name == Player::Countermove(Some(part)).name();
        let without = self.games.iter().filter(|((_, name, _), _)| is_without(name));
        let pairs: Vec<(f64, f64)> =
            without.filter_map(|((red, _, seed), score)| Some((with(red, *seed)?, *score))).collect();
        let differences: Vec<f64> = pairs.iter().map(|(with, without)| with - without).collect();
        let Difference { mean, interval: (low, high), chance } = Difference::of(&differences)?;
        let lost = -pairs.iter().map(|(_, without)| without).sum::<f64>() / pairs.len() as f64;
        let share = if lost > 0.0 {
            format!(", {:.0} % of what it costs without", 100.0 * mean / lost)
        } else {
            String::new()
        };
        Some(format!(
            "With {} a game costs {mean:.2} less{share} (95 % {low:.2} to {high:.2}, p = {chance:.4}, {} games).",
            part.name(),
            pairs.len()
        ))
    }

    /// Against each attacker what each player lost.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub(super) fn chart(&self, reds: &[String], players: &[Player]) -> Result<String, Failure> {
        let panel = |red: &String| {
            let bar = |player: &Player| {
                let spread = self.spread(red, *player).map(|(_, spread)| spread);
                Bar {
                    label: player.name().to_owned(),
                    value: spread.map(|spread| -spread.mean),
                    deviation: spread.and_then(|spread| spread.std),
                    text: spread.map_or_else(|| "-".to_owned(), told),
                }
            };
            Panel {
                title: format!("Loss against {red}"),
                note: "points a game, mean and standard deviation".to_owned(),
                // Beside who only watches nobody else would be seen.
                bars: players
                    .iter()
                    .filter(|player| **player != Player::Rule(Rule::Watch))
                    .map(bar)
                    .collect(),
            }
        };
        let panels: Vec<Panel> = reds.iter().map(panel).collect();
        bars("CAGE Challenge 2", &panels).map_err(|error| Failure::Failed(error.to_string()))
    }

    /// A line of the table for each attacker and player; `pace` tells the seconds and tokens of a round, where they were counted.
    pub(super) fn table(
        &self,
        reds: &[String],
        players: &[Player],
        pace: impl Fn(Player) -> Option<(f64, f64)>,
    ) -> String {
        let is_counted = players.iter().any(|player| pace(*player).is_some());
        let (titles, rule) =
            if is_counted { (" seconds a round | tokens a round |", "---:|---:|") } else { ("", "") };
        let mut text = format!("| attacker | player | games | score |{titles}\n|---|---|---:|---:|{rule}\n");
        for red in reds {
            for player in players {
                let Some((games, spread)) = self.spread(red, *player) else { continue };
                let _ = write!(text, "| {red} | {} | {games} | {} |", player.name(), told(spread));
                text += &match pace(*player) {
                    Some((seconds, tokens)) => format!(" {seconds:.2} | {tokens:.1} |\n"),
                    None if is_counted => " | |\n".to_owned(),
                    None => "\n".to_owned(),
                };
            }
        }
        text
    }
}

fn told(Spread { mean, std }: Spread) -> String {
    format!("{mean:.2} ± {:.2}", std.unwrap_or_default())
}

fn read(line: &str) -> Option<((String, &'static str, u64), f64)> {
    let mut fields = line.split('\t');
    let (red, player, seed, score) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let player = Player::all().find(|own| own.name() == player)?;
    let score: f64 = score.parse().ok().filter(|score: &f64| score.is_finite())?;
    fields.next().is_none().then_some(((red.to_owned(), player.name(), seed.parse().ok()?), score))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Player = Player::Countermove(None);
    const UNPLANNED: Player = Player::Countermove(Some(Part::Planning));

    #[test]
    fn a_run_that_was_broken_off_is_taken_up_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.tsv");
        let mut scores = Scores::open(Some(&path)).unwrap();
        scores.take("b_line", WHOLE, 7, -5.5).unwrap();
        scores.take("b_line", Player::Rule(Rule::Watch), 7, -219.7).unwrap();
        let again = Scores::open(Some(&path)).unwrap();
        assert_eq!(again.games, scores.games);
        assert_eq!((again.of("b_line", WHOLE, 7), again.of("b_line", WHOLE, 8)), (Some(-5.5), None));
        assert_eq!(again.of("meander", WHOLE, 7), None);
        std::fs::write(&path, format!("{HEAD}\nb_line\tnobody\t7\t-5.5\n")).unwrap();
        let error = Scores::open(Some(&path)).unwrap_err().to_string();
        assert!(
            error.contains("scores.tsv, line 2: it has to be attacker, player, seed and score"),
            "{error}"
        );
    }

    #[test]
    fn scores_are_told_with_their_spread() {
        let mut scores = Scores::default();
        scores.take("b_line", WHOLE, 1, -2.0).unwrap();
        scores.take("b_line", WHOLE, 2, -4.0).unwrap();
        let reds = ["b_line".to_owned(), "meander".to_owned()];
        let table = scores.table(&reds, &[WHOLE, UNPLANNED], |_| Some((0.5, 2.0)));
        assert!(table.ends_with("|\n| b_line | countermove | 2 | -3.00 ± 1.41 | 0.50 | 2.0 |\n"), "{table}");
        let kept = scores.table(&reds, &[WHOLE], |_| None);
        assert!(
            kept.ends_with("score |\n|---|---|---:|---:|\n| b_line | countermove | 2 | -3.00 ± 1.41 |\n"),
            "{kept}"
        );
        let chart = scores.chart(&reds, &[WHOLE, UNPLANNED]).unwrap();
        assert!(chart.contains("-3.00 ± 1.41") && chart.contains("without planning"), "{chart}");
    }

    #[test]
    fn what_a_part_is_worth_is_told_over_pairs_of_games() {
        let mut scores = Scores::default();
        assert_eq!(scores.worth(Part::Planning), None);
        for seed in 0..20 {
            scores.take("b_line", WHOLE, seed, -8.0 - seed as f64).unwrap();
            scores.take("b_line", UNPLANNED, seed, -10.0 - seed as f64).unwrap();
        }
        scores.take("b_line", UNPLANNED, 20, -90.0).unwrap();
        let told = scores.worth(Part::Planning).unwrap();
        let expected = "With planning a game costs 2.00 less, 10 % of what it costs without (95 % 2.00 to 2.00, p = 0.0001, 20 games).";
        assert_eq!(told, expected);
        assert_eq!(scores.worth(Part::Revision), None);
    }
}
