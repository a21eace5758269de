use proptest::prelude::*;

use super::*;
use crate::AlertLog;

/// What is learnt from these logs, one a day.
fn learnt(logs: &[&str]) -> Learnt {
    let mut learner = BaselineLearner::default();
    for (day, log) in logs.iter().enumerate() {
        AlertLog::each(log.as_bytes(), |record| learner.add(&record, &format!("log {day}"))).unwrap();
    }
    learner.learn().unwrap()
}

fn records(log: &str) -> Vec<Record> {
    let mut records = Vec::new();
    AlertLog::each(log.as_bytes(), |record| records.push(record)).unwrap();
    records
}

fn login(day: u8, account: &str, from: &str) -> String {
    format!(
        "Jun {day:2} 09:1{}:33 web01 sshd[{day}19]: Accepted publickey for {account} from {from} port 5{day}122 ssh2\n",
        day % 10
    )
}

fn familiarity(baseline: &Baseline, log: &str) -> Vec<Familiarity> {
    records(log).iter().map(|record| baseline.known(record).familiarity).collect()
}

#[test]
fn what_several_days_hold_is_usual_of_the_same_and_known_of_others() {
    let days: Vec<String> = (1..=4).map(|day| login(day, "deploy", "10.0.9.5")).collect();
    let Learnt { baseline, seldom, last, .. } = learnt(&days.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((baseline.days(), baseline.kinds(), seldom), (4, 1, 0));
    assert_eq!(last, Some(LastDay { records: 1, usual: 1, of_others: 0 }));
    assert_eq!(familiarity(&baseline, &login(9, "deploy", "10.0.9.5")), [Familiarity::Daily]);
    assert_eq!(familiarity(&baseline, &login(9, "deploy", "203.0.113.9")), [Familiarity::UsualOfOthers]);
    assert_eq!(
        familiarity(&baseline, &login(9, "root", "10.0.9.5")),
        [Familiarity::New],
        "the account stands in the text"
    );
    let other = "Jun  9 09:10:33 web01 sshd[7]: Failed password for deploy from 10.0.9.5 port 5122 ssh2\n";
    assert_eq!(familiarity(&baseline, other), [Familiarity::New]);
}

#[test]
fn what_comes_on_some_days_is_usual_and_on_most_daily() {
    let log = |days: &[u8]| -> Vec<String> {
        (1..=10)
            .map(|day| match days.contains(&day) {
                true => login(day, "deploy", "10.0.9.5"),
                false => login(day, "root", "10.0.9.6"),
            })
            .collect()
    };
    for (days, known) in [
        (&[1, 2][..], Familiarity::Usual),
        (&[1, 2, 3, 4], Familiarity::Usual),
        (&[1, 2, 3, 4, 5], Familiarity::Daily),
    ] {
        let logs = log(days);
        let baseline = learnt(&logs.iter().map(String::as_str).collect::<Vec<_>>()).baseline;
        assert_eq!(familiarity(&baseline, &login(11, "deploy", "10.0.9.5")), [known], "{days:?}");
    }
}

#[test]
fn one_day_makes_nothing_usual() {
    let twice = login(1, "deploy", "10.0.9.5").repeat(30);
    let Learnt { baseline, seldom, last, .. } = learnt(&[&twice, &login(2, "backup", "10.0.9.6")]);
    assert_eq!((baseline.kinds(), seldom, last), (0, 2, None));
    let mut learner = BaselineLearner::default();
    records(&twice).iter().for_each(|record| learner.add(record, ""));
    let error = learner.learn().unwrap_err();
    assert_eq!(error.to_string(), "the logs are of one day; a baseline needs those of two days or more");
    assert!(matches!(BaselineLearner::default().learn(), Err(BaselineError::Days(_))));
}

#[test]
fn where_ever_others_come_from_outside_anybody_does() {
    let knocks = |day: u8, net: u8| {
        format!(
            "Jun {day:2} 03:00:0{} web01 sshd[{day}]: Failed password for root from 203.0.{net}.7 port 4{day}00 ssh2\n",
            day % 10
        )
    };
    let few: Vec<String> = (1..=4).map(|day| knocks(day, day)).collect();
    let many: Vec<String> = (1..=4).map(|day| (0..3).map(|at| knocks(day, day * 3 + at)).collect()).collect();
    let baseline = |logs: &[String]| learnt(&logs.iter().map(String::as_str).collect::<Vec<_>>()).baseline;
    let next = knocks(9, 200);
    assert_eq!(familiarity(&baseline(&few), &next), [Familiarity::UsualOfOthers]);
    let known = baseline(&many);
    assert_eq!(
        records(&next).iter().map(|record| known.known(record)).collect::<Vec<_>>(),
        [Known { familiarity: Familiarity::Daily, of_anybody: true }]
    );
    let inside = next.replace("203.0.200.7", "10.0.0.7");
    assert_eq!(familiarity(&known, &inside), [Familiarity::UsualOfOthers], "inside it is not anybody");
    let named = records(&next)
        .pop()
        .map(|record| Record { source: None, account: "root *".into(), ..record })
        .unwrap();
    assert_ne!(known.known(&named).familiarity, Familiarity::Daily, "nobody is called anybody");
    let elsewhere = next.replace("web01", "db01");
    assert_eq!(familiarity(&known, &elsewhere), [Familiarity::UsualOfOthers], "nor at another host");
}

#[test]
fn where_accounts_come_from_is_known_whatever_they_do() {
    let days: Vec<String> = (1..=4)
        .map(|day| login(day, "deploy", "203.0.113.5") + &login(day, "alice", &format!("198.{day}.100.7")))
        .collect();
    let baseline = learnt(&days.iter().map(String::as_str).collect::<Vec<_>>()).baseline;
    let origin = |log: &str| baseline.origin(&records(log)[0]);
    let changed = |text: &str| text.replace("publickey", "password");
    assert_eq!(
        origin(&changed(&login(9, "deploy", "203.0.200.77"))),
        Some(Origin::Usual),
        "the same provider's"
    );
    // Of eight times that somebody came it was from somewhere new four times, those of alice.
    let new = Some(Origin::New(0.5));
    assert_eq!(origin(&login(9, "deploy", "192.0.2.9")), new);
    assert_eq!(origin(&login(9, "root", "203.0.113.5")), new, "it is another's");
    assert_eq!(origin(&login(9, "deploy", "10.0.9.5")), None, "from inside");
    let failed = "Jun  9 09:10:33 web01 sshd[7]: Failed password for deploy from 192.0.2.9 port 5122 ssh2\n";
    assert_eq!(origin(failed), None, "who only tries an account is not its owner");
    assert_eq!(Baseline::default().origin(&records(&login(9, "deploy", "192.0.2.9"))[0]), None);
    let shared: Vec<String> = (1..=2)
        .map(|day| ["a", "b", "c"].map(|account| login(day, account, "203.0.113.5")).concat())
        .collect();
    let baseline = learnt(&shared.iter().map(String::as_str).collect::<Vec<_>>()).baseline;
    let newcomer = records(&login(9, "d", "203.0.113.9"));
    assert_eq!(baseline.origin(&newcomer[0]), Some(Origin::Usual), "from where all come anybody does");
}

#[test]
fn whoever_is_outside_is_known_by_network_and_domain() {
    let beacon = |day: u8, to: &str| {
        format!(
            "06/{day:02}-13:10:51.405000 [**] [1:1:2] Beacon [**] [Priority: 1] {{TCP}} 10.0.2.13:4711 -> {to}:443\n"
        )
    };
    let days: Vec<String> =
        (1..=3).map(|day| beacon(day, "198.51.100.7") + &beacon(day, &format!("192.{day}.2.1"))).collect();
    let baseline = learnt(&days.iter().map(String::as_str).collect::<Vec<_>>()).baseline;
    assert_eq!(baseline.outside("198.51.7.9"), Some(Origin::Usual), "of alerts of any severity");
    assert_eq!(baseline.outside("203.0.113.9"), Some(Origin::New(0.5)), "three of six are of one day");
    assert_eq!((baseline.outside("10.0.2.13"), Baseline::default().outside("203.0.113.9")), (None, None));
    assert_eq!(Baseline::parse(&baseline.to_text()).unwrap(), baseline);
}

#[test]
fn numbers_differ_and_words_do_not() {
    for (text, kind) in [
        ("CMD (/usr/lib/sa/sa1 -S DISK 1 1) pid=4711", "CMD (/usr/lib/sa/sa# -S DISK # #) pid=#"),
        ("session 9f2c3a1e-77aa-4b1b-9c1d-0f0e0d0c0b0a opened", "session #-#-#-#-# opened"),
        ("connection at Tue Jul  7 16:33:52 2005", "connection at # # # #:#:# #"),
        ("key AROAEXAMPLE1234567890ID used", "key # used"),
        (
            r#""GET /item/7?id=1' OR '1'='1 HTTP/1.1" 200 512"#,
            r#""GET /item/#?id=#' OR '#'='# HTTP/#.#" 200 #"#,
        ),
        ("état 12 \u{661}\u{662}", "état # #"),
        ("deadbeef", "deadbeef"),
    ] {
        assert_eq!(masked(text), kind);
    }
    let of = |log: &str| records(log).first().and_then(kind_of);
    let web = |request: &str, answer: u16| {
        format!(
            "203.0.113.9 - - [10/Jun/2026:13:55:36 +0000] \"GET {request} HTTP/1.1\" {answer} 512 \"-\" \"curl/8\"\n"
        )
    };
    assert!(of(&web("/item/7", 200)).is_some());
    assert_eq!(of(&web("/item/7", 200)), of(&web("/item/8", 200)));
    assert_ne!(of(&web("/item/7", 200)), of(&web("/item/7'--", 200)), "a quote is no number");
    assert_ne!(of(&web("/item/7", 401)), of(&web("/item/7", 200)), "an answer is no number either");
}

#[test]
fn what_is_severe_is_usual_only_on_most_days_and_of_the_same() {
    let alert = |day: u32, priority: u8, own: u8| {
        format!(
            "06/{day:02}-13:10:51.405000 [**] [1:1:2] Web scan [**] [Classification: Misc Attack] [Priority: {priority}] {{TCP}} \
             203.0.113.7:4711 -> 10.0.2.{own}:80\n"
        )
    };
    let log = |priority: u8, days: u32| -> Learnt {
        let logs: Vec<String> =
            (1..=8)
                .map(|day| {
                    if day <= days {
                        alert(day, priority, 13)
                    } else {
                        login(day as u8, "deploy", "10.0.9.5")
                    }
                })
                .collect();
        learnt(&logs.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let known =
        |learnt: &Learnt, priority: u8, own: u8| familiarity(&learnt.baseline, &alert(9, priority, own));
    let (few, most) = (log(1, 3), log(1, 6));
    assert_eq!((known(&few, 1, 13), few.severe.len(), few.seldom), (vec![Familiarity::New], 0, 1));
    assert_eq!(
        (known(&most, 1, 13), known(&most, 1, 14)),
        (vec![Familiarity::Daily], vec![Familiarity::New])
    );
    assert!(most.severe.len() == 1 && most.severe[0].contains("Web scan"), "{:?}", most.severe);
    let milder = log(2, 3);
    assert_eq!(
        (known(&milder, 2, 13), known(&milder, 2, 14)),
        (vec![Familiarity::Usual], vec![Familiarity::UsualOfOthers])
    );
    assert_eq!(
        (known(&milder, 1, 13), milder.severe.len()),
        (vec![Familiarity::New], 0),
        "severity is part of the kind"
    );
}

#[test]
fn what_is_not_understood_or_endless_is_of_no_kind() {
    let kinds = |log: &str| records(log).iter().filter_map(kind_of).count();
    assert_eq!(kinds("nothing that anybody knows\n"), 0);
    let long = login(1, "deploy", "10.0.9.5").replace("publickey", &"x".repeat(3000));
    assert_eq!(kinds(&long), 0, "nothing hides behind a cut");
}

#[test]
fn what_cannot_be_is_refused() {
    for (text, wrong) in [
        ("[]", "the baseline cannot be read"),
        (r#"{"days": 2, "kinds": [{"says": "a", "days": 3}]}"#, "was seen on 3 of 2 days"),
        (r#"{"days": 2, "kinds": [{"says": "", "days": 2}]}"#, "has 0 bytes"),
        (
            r#"{"days": 2, "kinds": [{"says": "a", "days": 2}, {"says": "a", "days": 2}]}"#,
            "stands there twice",
        ),
        (r#"{"days": 2, "kinds": [{"says": "a", "days": 2, "of": {"": 2}}]}"#, "is of \"\""),
        (r#"{"days": 3, "kinds": [{"says": "a", "days": 2, "of": {"b": 3}}]}"#, "on 3 days and at all on 2"),
        (r#"{"days": 2, "kinds": [], "more": 1}"#, "unknown field"),
        (r#"{"days": 2, "outside": {"192.0.0.0/16": 3}, "kinds": []}"#, "was seen on 3 of 2 days"),
        (r#"{"days": 2, "outside": {"": 1}, "kinds": []}"#, "must have 1 to"),
        (r#"{"days": 2, "met": {"times": 1, "new": 2}, "kinds": []}"#, "2 of 1 were new"),
        (
            r#"{"days": 2, "origins": [{"account": "a", "from": {"192.0.0.0/16": 3}}], "kinds": []}"#,
            "on 3 of 2 days",
        ),
        (r#"{"days": 2, "origins": [{"account": "a", "from": {}}], "kinds": []}"#, "1 to 64 networks"),
        (
            r#"{"days": 2, "origins": [{"account": "a", "from": {"b": 1}}, {"account": "a", "from": {"b": 1}}], "kinds": []}"#,
            "stands there twice",
        ),
    ] {
        let error = Baseline::parse(text).unwrap_err().to_string();
        assert!(error.contains(wrong), "{error}");
    }
    let long = format!("{}{{", " ".repeat(LONGEST_TEXT));
    assert!(matches!(Baseline::parse(&long), Err(BaselineError::Length(_))));
}

#[test]
fn what_does_not_fit_is_dropped_and_said() {
    let many = |day: u8| -> String {
        // Letters alone: numbers would make them one kind.
        let word = |at: u32| -> String {
            format!("{at:04}").bytes().map(|digit| char::from(b'g' + digit - b'0')).collect()
        };
        (0..3000)
            .map(|at| format!("Jun {day:2} 09:00:00 web01 sudo: deploy : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/{}{}\n", word(at), "w".repeat(60)))
            .collect()
    };
    let Learnt { baseline, dropped, .. } = learnt(&[&many(1), &many(2)]);
    assert!(dropped > 0 && baseline.kinds() + dropped == 3000, "{dropped}");
    let text = baseline.to_text();
    assert!(text.len() <= LONGEST_TEXT);
    assert_eq!(Baseline::parse(&text).unwrap(), baseline);
}

proptest! {
    #[test]
    fn any_text_is_masked_once(text in "\\PC{0,80}") {
        let once = masked(&text);
        prop_assert_eq!(masked(&once), once);
    }

    #[test]
    fn any_log_gives_a_baseline_that_is_read_back(lines in prop::collection::vec("\\PC{0,60}", 0..12)) {
        let logs = [lines.join("\n"), login(1, "deploy", "10.0.9.5") + &lines.join("\n"), login(2, "deploy", "10.0.9.5")];
        let baseline = learnt(&logs.each_ref().map(String::as_str)).baseline;
        prop_assert_eq!(Baseline::parse(&baseline.to_text()).unwrap(), baseline);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        let _ = Baseline::parse(&text);
    }
}
