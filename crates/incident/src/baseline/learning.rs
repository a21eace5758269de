//! Learns a baseline from logs of ordinary days.

use super::vocabulary::{program_of, words_of};
use super::*;

/// Most kinds that are counted while learning; further ones are left out.
const MOST_KINDS: usize = 100_000;
/// Of each kind, and of all together, most names that are counted.
const MOST_COUNTED: usize = 512;
const MOST_NAMES_COUNTED: usize = 400_000;
/// Most days; records of further ones are left out.
const MOST_DAYS_COUNTED: usize = 400;
/// From so many networks outside on, seen on so many days, it is anybody who comes.
const MANY_NETWORKS: usize = 8;
const MANY_DAYS: usize = 3;
/// Bytes of a baseline's text around its kinds, at most.
const FRAME: usize = 256;

/// Learns what is usual, record by record, in whatever order they come.
#[derive(Clone, Debug, Default)]
pub struct BaselineLearner {
    /// Days by what logs call them.
    days: BTreeMap<String, u32>,
    kinds: HashMap<String, Counts>,
    /// By network or domain outside, the days.
    outside: HashMap<String, BTreeSet<u32>>,
    /// By account and network outside, the days.
    origins: HashMap<String, HashMap<String, BTreeSet<u32>>>,
    /// Programs and words, with the days.
    programs: HashMap<String, BTreeSet<u32>>,
    words: HashMap<String, BTreeSet<u32>>,
    /// Names of all kinds, networks of all accounts, programs and words.
    names: usize,
    records: u64,
    left_out: u64,
}

/// How often one kind came.
#[derive(Clone, Debug, Default)]
struct Counts {
    /// Whether these are alerts of the highest severity.
    is_severe: bool,
    /// By day.
    days: BTreeMap<u32, u64>,
    /// By whom and day.
    exact: HashMap<String, BTreeMap<u32, u64>>,
    /// The same with anybody in place of addresses outside.
    of_anybody: HashMap<String, BTreeMap<u32, u64>>,
    /// Those of `exact` that hold an address outside.
    outside: usize,
}

/// What was learnt, and from what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learnt {
    /// What is usual.
    pub baseline: Baseline,
    /// Records that were looked at.
    pub records: u64,
    /// Of them, such as are of no kind: in no known form, very long ones.
    pub of_no_kind: u64,
    /// Kinds that were seen on too few days, and do not count: on one, or as alerts of the highest severity not on most.
    pub seldom: usize,
    /// Kinds of alerts of the highest severity that are usual, for a person to look at.
    pub severe: Vec<String>,
    /// Kinds that were usual and did not fit: those that were seen on the fewest days.
    pub dropped: usize,
    /// The last day, as the logs call it.
    pub last_day: String,
    /// Records of the last day, and how many of them the days before would have called usual, of the same and of others: what to expect of a
    /// further day. Nothing if there are but two days.
    pub last: Option<LastDay>,
}

/// How well earlier days knew the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastDay {
    /// Records that are of a kind.
    pub records: u64,
    /// Seen before of the same hosts, accounts and addresses, or of anybody outside.
    pub usual: u64,
    /// Seen before, of others.
    pub of_others: u64,
}

impl BaselineLearner {
    /// Takes a record; `undated` is the day of one that tells no time.
    pub fn add(&mut self, record: &Record, undated: &str) {
        self.records = self.records.saturating_add(record.repeats.count);
        let kind =
            kind_of(record).filter(|kind| self.kinds.len() < MOST_KINDS || self.kinds.contains_key(kind));
        let origin = origin_of(record);
        if kind.is_none() {
            self.left_out = self.left_out.saturating_add(record.repeats.count);
        }
        let mut met = met(record).peekable();
        if kind.is_none() && origin.is_none() && met.peek().is_none() {
            return;
        }
        let day = record.time.map_or_else(|| undated.to_owned(), |time| time.date());
        if self.days.len() >= MOST_DAYS_COUNTED && !self.days.contains_key(&day) {
            self.left_out = self.left_out.saturating_add(record.repeats.count);
            return;
        }
        let number = u32::try_from(self.days.len()).unwrap_or(u32::MAX);
        let day = *self.days.entry(day).or_insert(number);
        for network in met {
            see(&mut self.outside, usize::MAX, &mut self.names, network, day);
        }
        if let Some((account, network)) = origin
            && (self.names < MOST_NAMES_COUNTED || self.origins.contains_key(&account))
        {
            see(self.origins.entry(account).or_default(), MOST_COUNTED, &mut self.names, network, day);
        }
        let Some(kind) = kind else { return };
        if let Some(program) = program_of(record) {
            see(&mut self.programs, usize::MAX, &mut self.names, program, day);
        }
        for word in words_of(record) {
            see(&mut self.words, usize::MAX, &mut self.names, word, day);
        }
        let count = record.repeats.count;
        let counts = self.kinds.entry(kind).or_default();
        counts.is_severe |= is_severe(record);
        let add = |days: &mut BTreeMap<u32, u64>| {
            let known = days.entry(day).or_default();
            *known = known.saturating_add(count);
        };
        add(&mut counts.days);
        let names = Names::of(record);
        let has_outside = names.has_outside();
        let room = MOST_NAMES_COUNTED.saturating_sub(self.names);
        let mut count_name = |of: &mut HashMap<String, BTreeMap<u32, u64>>, name: String| {
            if let Some(days) = of.get_mut(&name) {
                add(days);
            } else if of.len() < MOST_COUNTED && room > 1 {
                self.names += 1;
                add(of.entry(name).or_default());
                return true;
            }
            false
        };
        if has_outside {
            count_name(&mut counts.of_anybody, names.of_anybody);
        }
        let is_new = count_name(&mut counts.exact, names.exact);
        counts.outside += usize::from(is_new && has_outside);
    }

    /// What is usual.
    ///
    /// # Errors
    /// [`BaselineError::Days`] if the logs are of fewer than two days.
    pub fn learn(self) -> Result<Learnt, BaselineError> {
        let Some((last_day, &last)) = self.days.last_key_value().filter(|_| self.days.len() > 1) else {
            let days = if self.days.is_empty() { "no day that can be told" } else { "one day" };
            return Err(BaselineError::Days(days.to_owned()));
        };
        let days = u32::try_from(self.days.len()).unwrap_or(u32::MAX);
        let mut known = LastDay::default();
        let mut seldom = 0;
        let mut severe = Vec::new();
        let mut kinds: Vec<(String, Seen)> = Vec::new();
        for (says, counts) in self.kinds {
            counts.know(last, self.days.len() - 1, &mut known);
            match counts.usual(self.days.len(), |_| true) {
                Some(seen) => {
                    if counts.is_severe {
                        severe.push(says.clone());
                    }
                    kinds.push((says, seen));
                }
                None => seldom += 1,
            }
        }
        severe.sort_unstable();
        let (origins, of_origins) = origins(self.origins);
        let came = came(&origins);
        let (outside, met, of_outside) = outside(self.outside);
        let (vocabulary, of_words) = Vocabulary::of(by_days(self.programs), by_days(self.words));
        // What is seen on most days stays.
        kinds.sort_unstable_by(|a, b| b.1.days.cmp(&a.1.days).then_with(|| a.0.cmp(&b.0)));
        let room = LONGEST_TEXT.saturating_sub(FRAME + of_origins + of_outside + of_words);
        let (kept, _) = fitting(kinds.iter().map(|(says, seen)| line(says, seen)), room);
        let dropped = kinds.len() - kept;
        kinds.truncate(kept);
        Ok(Learnt {
            baseline: Baseline {
                days,
                kinds: kinds.into_iter().collect(),
                origins,
                came,
                outside,
                met,
                vocabulary,
            },
            records: self.records,
            of_no_kind: self.left_out,
            seldom,
            severe,
            dropped,
            last_day: last_day.clone(),
            last: (days > SEVERAL).then_some(known),
        })
    }
}

/// Counts a day on which a name was seen; a further name if there is room for it, among `most` and among all.
fn see(of: &mut HashMap<String, BTreeSet<u32>>, most: usize, names: &mut usize, name: String, day: u32) {
    if let Some(days) = of.get_mut(&name) {
        days.insert(day);
    } else if *names < MOST_NAMES_COUNTED && of.len() < most {
        *names += 1;
        of.insert(name, BTreeSet::from([day]));
    }
}

/// How many of these lines fit into so many bytes, the first ones, and how many bytes they take, with what parts each from the next.
pub(super) fn fitting(lines: impl Iterator<Item = String>, room: usize) -> (usize, usize) {
    let (mut kept, mut taken) = (0, 0);
    for line in lines {
        let with = taken + line.len() + ",\n".len();
        if with > room {
            break;
        }
        (kept, taken) = (kept + 1, with);
    }
    (kept, taken)
}

/// Names with their days, those of the most days first.
fn by_days(seen: HashMap<String, BTreeSet<u32>>) -> Vec<(String, u32)> {
    let days = |days: BTreeSet<u32>| u32::try_from(days.len()).unwrap_or(u32::MAX);
    let mut names: Vec<(String, u32)> = seen.into_iter().map(|(name, on)| (name, days(on))).collect();
    names.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    names
}

/// Where accounts come from, those of the most days within a quarter of a baseline's text, and how many bytes they take.
fn origins(
    seen: HashMap<String, HashMap<String, BTreeSet<u32>>>,
) -> (BTreeMap<String, BTreeMap<String, u32>>, usize) {
    let mut accounts: Vec<(u32, String, BTreeMap<String, u32>)> = seen
        .into_iter()
        .map(|(account, from)| {
            let from = by_days(from);
            let most = from.first().map_or(0, |(_, days)| *days);
            (most, account, from.into_iter().take(MOST_NAMES).collect())
        })
        .collect();
    accounts.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let lines = accounts.iter().map(|(_, account, from)| origin_line(account, from));
    let (kept, taken) = fitting(lines, LONGEST_TEXT / 4);
    (accounts.into_iter().take(kept).map(|(_, account, from)| (account, from)).collect(), taken)
}

/// What is outside, those of the most days within a quarter of a baseline's text, how often such a one is new, and how many bytes they take.
fn outside(seen: HashMap<String, BTreeSet<u32>>) -> (BTreeMap<String, u32>, Came, usize) {
    let networks = by_days(seen);
    let (kept, taken) =
        fitting(networks.iter().map(|(network, days)| outside_line(network, *days)), LONGEST_TEXT / 4);
    let mut met = Came::default();
    for (at, (_, days)) in networks.iter().enumerate() {
        met.times += u64::from(*days);
        // What does not fit is new on each day.
        met.new += if at < kept { u64::from(*days == 1) } else { u64::from(*days) };
    }
    (networks.into_iter().take(kept).collect(), met, taken)
}

/// How often accounts came from where no other day knows them.
fn came(origins: &BTreeMap<String, BTreeMap<String, u32>>) -> Came {
    let mut came = Came::default();
    for (network, days) in origins.values().flatten() {
        came.times += u64::from(*days);
        came.new += u64::from(*days == 1 && !is_shared(origins, network));
    }
    came
}

impl Counts {
    /// How it was seen on the days that count, of which there are `all`, if it is usual.
    fn usual(&self, all: usize, counts: impl Fn(u32) -> bool) -> Option<Seen> {
        let on = |days: &BTreeMap<u32, u64>| days.keys().filter(|day| counts(**day)).count();
        let least = if self.is_severe { all.div_ceil(2).max(MOST_DAYS as usize) } else { SEVERAL as usize };
        let several = |days: &BTreeMap<u32, u64>| on(days) >= least;
        let days = u32::try_from(on(&self.days)).ok().filter(|_| several(&self.days))?;
        let mut of: Vec<(usize, bool, &String)> = self
            .exact
            .iter()
            .filter(|(_, days)| several(days))
            .map(|(names, days)| (on(days), false, names))
            .collect();
        if self.outside >= MANY_NETWORKS {
            let many = self.of_anybody.iter().filter(|(_, days)| on(days) >= MANY_DAYS.max(least));
            of.extend(many.map(|(names, days)| (on(days), true, names)));
        }
        of.retain(|(_, _, names)| names.len() <= LONGEST_NAMES);
        // Anybody first, since many are one of them.
        of.sort_unstable_by(|a, b| (b.1, b.0).cmp(&(a.1, a.0)).then_with(|| a.2.cmp(b.2)));
        of.truncate(MOST_NAMES);
        let named =
            of.into_iter().map(|(days, _, names)| (names.clone(), u32::try_from(days).unwrap_or(u32::MAX)));
        let seen = Seen { days, of: named.collect() };
        (!self.is_severe || !seen.of.is_empty()).then_some(seen)
    }

    /// Counts what the days before, of which there are `before`, knew of a day.
    fn know(&self, day: u32, before: usize, known: &mut LastDay) {
        let Some(&records) = self.days.get(&day) else { return };
        known.records = known.records.saturating_add(records);
        let Some(seen) = self.usual(before, |other| other != day) else { return };
        let on_day = |(names, days): (&String, &BTreeMap<u32, u64>)| {
            days.get(&day).copied().filter(|_| seen.of.contains_key(names)).unwrap_or_default()
        };
        let of_anybody: u64 = self.of_anybody.iter().map(on_day).sum();
        let exact: u64 = self.exact.iter().map(on_day).sum();
        let usual = exact.max(of_anybody).min(records);
        known.usual = known.usual.saturating_add(usual);
        // An alert of the highest severity is not usual of others.
        let of_others = if self.is_severe { 0 } else { records - usual };
        known.of_others = known.of_others.saturating_add(of_others);
    }
}
