//! `countermove doctor`: whether what a cluster on this machine needs is there.
//!
//! It asks coordinator and worker for their settings (`--print-config`), so that it looks at what they would use, and then at
//! each thing that these name. Nothing is changed, and nothing is fetched. Each finding is a line; what is wrong says what to do.

mod certificates;
mod places;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use countermove_proto::v1::GetCallerRequest;
use serde::Serialize;
use serde_json::Value;
use tokio::process::Command;
use toml::Table;

use crate::args::{DoctorArgs, Remote};
use crate::client::{Coordinator, bounded};
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::plan::write_out;
use crate::render::one_line;
use crate::up::Program;

const COORDINATOR: &str = "countermove-coordinator";
const WORKER: &str = "countermove-worker";
/// Time that a program has to say something of itself; hashing a model of many gigabytes takes minutes.
const PROGRAM: Duration = Duration::from_secs(600);
/// Clocks that are further apart confuse who reads times; beyond the second one, tokens and certificates are refused.
const APART: Duration = Duration::from_secs(5);
const FAR_APART: Duration = Duration::from_secs(60);

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Good,
    /// It works, or it may not matter here.
    Doubtful,
    Bad,
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    standing: Standing,
    subject: String,
    what: String,
    /// What to do, where something is wrong.
    advice: String,
}

impl Finding {
    fn good(subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self { standing: Standing::Good, subject: subject.into(), what: what.into(), advice: String::new() }
    }

    fn doubtful(subject: impl Into<String>, what: impl Into<String>, advice: impl Into<String>) -> Self {
        let standing = Standing::Doubtful;
        Self { standing, subject: subject.into(), what: what.into(), advice: advice.into() }
    }

    fn bad(subject: impl Into<String>, what: impl Into<String>, advice: impl Into<String>) -> Self {
        let standing = Standing::Bad;
        Self { standing, subject: subject.into(), what: what.into(), advice: advice.into() }
    }

    fn line(&self) -> String {
        let mark = match self.standing {
            Standing::Good => "ok  ",
            Standing::Doubtful => "note",
            Standing::Bad => "BAD ",
        };
        let advice = if self.advice.is_empty() { String::new() } else { format!("; {}", self.advice) };
        format!("{mark} {}", one_line(&format!("{}: {}{advice}", self.subject, self.what)))
    }
}

pub(crate) async fn doctor(
    arguments: DoctorArgs,
    remote: &Remote,
    interrupt: &mut Interrupt,
) -> Result<Exit, Failure> {
    let findings = tokio::select! {
        findings = look(&arguments, remote) => findings,
        () = interrupt.wait() => return Ok(Exit::Interrupted),
    };
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&findings)
            .map_err(|error| Failure::Failed(format!("the findings cannot be written: {error}")))?,
        false => findings.iter().map(Finding::line).collect::<Vec<_>>().join("\n"),
    };
    write_out(format!("{text}\n").as_bytes())?;
    let is_bad = findings.iter().any(|finding| finding.standing == Standing::Bad);
    Ok(if is_bad { Exit::Failure } else { Exit::Success })
}

/// Looks at everything, in the order in which a start would need it.
async fn look(arguments: &DoctorArgs, remote: &Remote) -> Vec<Finding> {
    let mut findings = Vec::new();
    let worker = settings(WORKER, arguments.worker_config.as_deref(), &mut findings).await;
    if let Some((program, worker)) = &worker {
        findings.extend(model(program, worker).await);
        findings.extend(device(worker));
        findings.extend(places::port("worker's port", worker, "listen"));
        findings.extend(places::port("worker's metrics", worker, "metrics-listen"));
        findings.extend(certificates::of_settings("worker", worker));
    }
    let coordinator = settings(COORDINATOR, arguments.config.as_deref(), &mut findings).await;
    let (answering, clock) = calling(remote).await;
    if let Some((_, coordinator)) = &coordinator {
        let is_served = answering.standing == Standing::Good;
        findings.extend(
            places::port("coordinator's port", coordinator, "listen")
                .map(|finding| served(finding, is_served)),
        );
        findings.extend(
            places::port("coordinator's metrics", coordinator, "metrics-listen")
                .map(|finding| served(finding, is_served)),
        );
        findings.extend(places::workers(coordinator).await);
        findings.push(places::store(coordinator).await);
        findings.extend(certificates::of_settings("coordinator", coordinator));
    }
    findings.push(answering);
    findings.extend(certificates::of_caller(remote));
    findings.push(clock);
    findings
}

/// A port that the coordinator holds that answers is as it should be.
fn served(finding: Finding, is_served: bool) -> Finding {
    match finding.standing {
        Standing::Doubtful if is_served => {
            Finding { standing: Standing::Good, advice: String::new(), ..finding }
        }
        _ => finding,
    }
}

/// A program and the settings that it would run with.
async fn settings(
    name: &str,
    config: Option<&Path>,
    findings: &mut Vec<Finding>,
) -> Option<(PathBuf, Table)> {
    let Some(program) = Program::find(name) else {
        findings.push(Finding::bad(name, "it is neither beside this program nor in PATH", "install it"));
        return None;
    };
    let path = program.path().to_owned();
    let ask = async |arguments: &[&str]| ask(&path, arguments).await;
    let version = ask(&["--version"]).await;
    match version.as_ref().map(|text| text.trim().rsplit(' ').next().unwrap_or_default()) {
        Ok(version) if version == env!("CARGO_PKG_VERSION") => {
            findings.push(Finding::good(name, format!("version {version} at {}", path.display())));
        }
        Ok(version) => findings.push(Finding::doubtful(
            name,
            format!("version {version}, and this is {}", env!("CARGO_PKG_VERSION")),
            "install one release",
        )),
        Err(problem) => findings.push(Finding::bad(name, problem.clone(), "install it anew")),
    }
    let file = config.map(|path| path.display().to_string());
    let mut line = vec!["--print-config"];
    if let Some(file) = &file {
        line.extend(["--config", file]);
    }
    let text = match ask(&line).await {
        Ok(text) => text,
        Err(problem) => {
            let advice = format!("`{name} {}` says it too", line.join(" "));
            findings.push(Finding::bad(format!("{name}'s settings"), problem, advice));
            return None;
        }
    };
    match text.parse::<Table>() {
        Ok(settings) => Some((path, settings)),
        Err(error) => {
            findings.push(Finding::bad(
                format!("{name}'s settings"),
                error.to_string(),
                "install one release",
            ));
            None
        }
    }
}

/// What a program answers on standard output, or the first line that it says on standard error.
async fn ask(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    // Nothing is fetched to look at it.
    command.args(arguments).env("HF_HUB_OFFLINE", "1").env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = match tokio::time::timeout(PROGRAM, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("it cannot be started: {error}")),
        Err(_) => return Err(format!("it did not answer within {} s", PROGRAM.as_secs())),
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let first = errors.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed and said nothing");
    Err(first.trim_start_matches("error: ").to_owned())
}

/// A setting that is a text or a number.
fn text(settings: &Table, key: &str) -> Option<String> {
    match settings.get(key)? {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether the model is there, and is the one that is wanted.
async fn model(program: &Path, worker: &Table) -> Option<Finding> {
    if text(worker, "simulate").is_some() {
        return Some(Finding::doubtful("model", "none: the worker is simulated", "it answers by dice"));
    }
    let name = text(worker, "model")?;
    let mut line = vec!["model", "info", "--json", "--model", &name];
    let home = text(worker, "home");
    if let Some(home) = &home {
        line.extend(["--home", home]);
    }
    let adapter =
        text(worker, "adapter").filter(|adapter| !["none", "merged", "default"].contains(&adapter.as_str()));
    if let Some(adapter) = &adapter {
        line.extend(["--adapter", adapter]);
    }
    Some(match ask(program, &line).await {
        Ok(answer) => {
            let info: Value = serde_json::from_str(&answer).unwrap_or_default();
            let said = |key: &str| info[key].as_str().unwrap_or_default().to_owned();
            Finding::good(
                "model",
                format!("{name}, which is {} with SHA-256 {}", said("name"), said("weights_sha256")),
            )
        }
        Err(problem) => {
            let advice = match name.as_str() {
                "default" => "fetch it with `countermove-worker model fetch`",
                _ => "name one that is there with --model; `countermove-worker model list` knows some",
            };
            Finding::bad("model", problem, advice)
        }
    })
}

/// Whether the GPU that is wanted is there. That the worker is built for it was seen when its settings were read.
fn device(worker: &Table) -> Option<Finding> {
    let device = text(worker, "device")?;
    let number = device.strip_prefix("cuda:")?.split(':').next()?.to_owned();
    let node = format!("/dev/nvidia{number}");
    let has_driver = Path::new("/proc/driver/nvidia/version").exists();
    Some(match (has_driver, Path::new(&node).exists()) {
        (true, true) => {
            let advice = format!("`countermove-worker model check --device {device}` tries it");
            Finding { advice, ..Finding::good("GPU", format!("{device} is there")) }
        }
        (true, false) => Finding::bad(
            "GPU",
            format!("there is no {node}"),
            "name another one with --device, or let the service see it",
        ),
        (false, _) => Finding::bad("GPU", "NVIDIA's driver is not loaded", "install it, or use --device cpu"),
    })
}

/// Whether a coordinator answers, and what its clock says.
async fn calling(remote: &Remote) -> (Finding, Finding) {
    let subject = "coordinator";
    let unknown =
        |why: &str| Finding::doubtful("clock", format!("there is nothing to compare it with: {why}"), "");
    let coordinator = match Coordinator::connect(remote).await {
        Ok(coordinator) => coordinator,
        Err(failure) => {
            return (Finding::doubtful(subject, failure.to_string(), ""), unknown("no coordinator answers"));
        }
    };
    let url = remote.urls.join(",");
    match coordinator.access().get_caller(bounded(GetCallerRequest {})).await {
        Ok(answer) => {
            let told = answer.metadata().get("date").and_then(|date| date.to_str().ok());
            let told = told.and_then(|date| httpdate::parse_http_date(date).ok());
            let clock = told.map_or_else(
                || unknown("the coordinator does not say its time"),
                |told| clock(told, SystemTime::now()),
            );
            let name = answer.into_inner().name;
            let who = if name.is_empty() {
                "who asks nobody for a name".to_owned()
            } else {
                format!("this caller is {name}")
            };
            (Finding::good(subject, format!("{url} answers; {who}")), clock)
        }
        Err(status) => {
            let advice = "show a token (--token-file) or a certificate (--cert, --key) that --auth names";
            (
                Finding::bad(subject, coordinator.failure(&status).to_string(), advice),
                unknown("the coordinator refuses the call"),
            )
        }
    }
}

/// Whether this machine's clock and the coordinator's agree. Its time is told in whole seconds.
fn clock(told: SystemTime, now: SystemTime) -> Finding {
    let (apart, word) = match now.duration_since(told) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    let what = format!("{} s {word} the coordinator's", apart.as_secs());
    let advice = "set both by NTP: tokens and certificates hold for a time";
    match apart {
        _ if apart > FAR_APART => Finding::bad("clock", what, advice),
        _ if apart > APART => Finding::doubtful("clock", what, advice),
        _ => Finding::good("clock", "it agrees with the coordinator's"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_that_says_what_to_do() {
        let bad = Finding::bad("store", "the folder\nis gone", "make it");
        assert_eq!(bad.line(), "BAD  store: the folder is gone; make it");
        assert_eq!(Finding::good("model", "there").line(), "ok   model: there");
    }

    #[test]
    fn clocks_may_be_a_little_apart() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let standing = |seconds: i64| {
            let apart = Duration::from_secs(seconds.unsigned_abs());
            clock(if seconds < 0 { now - apart } else { now + apart }, now).standing
        };
        assert_eq!(
            (standing(0), standing(1), standing(-4)),
            (Standing::Good, Standing::Good, Standing::Good)
        );
        assert_eq!((standing(20), standing(-20)), (Standing::Doubtful, Standing::Doubtful));
        assert_eq!((standing(3600), standing(-3600)), (Standing::Bad, Standing::Bad));
    }

    #[test]
    fn a_port_that_the_coordinator_holds_is_as_it_should_be() {
        let taken = Finding::doubtful("port", "it is taken", "by whom?");
        assert_eq!(served(taken.clone(), true).standing, Standing::Good);
        assert_eq!(served(taken.clone(), false), taken);
        assert_eq!(served(Finding::bad("port", "no", ""), true).standing, Standing::Bad);
    }

    #[test]
    fn a_gpu_is_looked_for_where_one_is_wanted() {
        let of = |device: &str| device_of(device);
        assert_eq!(of("cpu"), None);
        let finding = of("cuda:99").unwrap();
        assert_eq!((finding.standing, finding.subject.as_str()), (Standing::Bad, "GPU"));
    }

    fn device_of(name: &str) -> Option<Finding> {
        device(&format!("device = \"{name}\"").parse().unwrap())
    }
}
