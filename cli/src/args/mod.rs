//! The command line: one module for each group of commands, and [`values`], which reads what stands behind flags.

mod cluster;
mod plan;
pub mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::failure::EXIT_CODES;

pub(crate) use cluster::*;
pub(crate) use plan::{BaselineArgs, Budget, EvidenceArgs, PlanArgs};
pub use plan::{BaselineText, CatalogueText, Costs, PlanOptions};

/// Plans the response to network incidents.
#[derive(Debug, Parser)]
#[command(name = "countermove", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Plan the response to an incident and print it.
    Plan(Box<PlanArgs>),
    /// Show what was read of logs: forms, severities, ends, and what was not understood. Needs no coordinator.
    Evidence(EvidenceArgs),
    /// Learn from logs of ordinary days what is usual, for `plan --baseline`. Needs no coordinator.
    Baseline(BaselineArgs),
    /// Run a coordinator and workers on this machine, until Ctrl-C or until a command has ended.
    Up(UpArgs),
    /// Make an authority and certificates, for trying a cluster with TLS. Needs no coordinator.
    Certs(CertsArgs),
    /// See and steer the workers of a coordinator.
    Workers(WorkersArgs),
    /// See and steer the incidents of a coordinator.
    Incidents(IncidentsArgs),
    /// See what waits at a terminal, and decide about it: a queue, and the page of each incident.
    Watch(WatchArgs),
    /// Make, list and revoke the tokens by which services call.
    Tokens(TokensArgs),
    /// Say who the coordinator takes this caller for, and what it may do.
    Whoami,
    /// See who did what, and check that nothing of it was changed.
    Audit(AuditArgs),
    /// Serve incidents to an assistant, by the Model Context Protocol on standard input and output: it may read and open, never approve.
    Mcp,
    /// Look whether what a cluster on this machine needs is there: model, ports, workers, store, certificates, clock, GPU.
    Doctor(DoctorArgs),
    /// Print the completions of a shell: `source <(countermove completions bash)`.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command.
    Man {
        /// Folder to write countermove.1, countermove-plan.1 and so on into.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// Where coordinators are found unless a flag says it.
pub(crate) const COORDINATOR_VARIABLE: &str = "COUNTERMOVE_COORDINATOR";
/// Where a coordinator is found unless anything says it.
pub(crate) const DEFAULT_COORDINATOR: &str = "http://127.0.0.1:7700";

/// Which coordinator to talk to.
#[derive(Clone, Debug, Args)]
pub struct Remote {
    /// Addresses of the coordinator, or of several that share a store, with commas between: the first that answers is asked.
    #[arg(
        long = "coordinator",
        value_name = "URL",
        env = COORDINATOR_VARIABLE,
        default_value = DEFAULT_COORDINATOR,
        value_delimiter = ',',
        global = true
    )]
    pub urls: Vec<String>,
    /// Authorities of the coordinator's certificate in PEM, for https:// [default: Mozilla's].
    #[arg(long, value_name = "FILE", env = "COUNTERMOVE_CA", global = true)]
    pub ca: Option<PathBuf>,
    /// Certificate that says who calls, in PEM.
    #[arg(long, value_name = "FILE", env = "COUNTERMOVE_CERT", requires = "key", global = true)]
    pub cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", env = "COUNTERMOVE_KEY", requires = "cert", global = true)]
    pub key: Option<PathBuf>,
    /// File with the token that says who calls; COUNTERMOVE_TOKEN may hold the token itself.
    #[arg(long, value_name = "FILE", env = "COUNTERMOVE_TOKEN_FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// Call in plain text beyond this machine as well; with `up`, also serve there.
    #[arg(long, env = "COUNTERMOVE_INSECURE", global = true)]
    pub insecure: bool,
}

impl Remote {
    /// Coordinators that are reached as these are.
    #[must_use]
    pub fn at(&self, urls: impl IntoIterator<Item = String>) -> Self {
        Self { urls: urls.into_iter().collect(), ..self.clone() }
    }

    /// A coordinator on this machine that asks nobody who calls.
    pub fn local(url: &str) -> Self {
        Self {
            urls: vec![url.to_owned()],
            ca: None,
            cert: None,
            key: None,
            token_file: None,
            insecure: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use countermove_proto::v1::Priority;

    use super::*;

    fn plan(arguments: &[&str]) -> Result<PlanArgs, clap::Error> {
        let all = ["countermove", "plan"].into_iter().chain(arguments.iter().copied());
        match Cli::try_parse_from(all)?.command {
            Command::Plan(plan) => Ok(*plan),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_plan_needs_a_system_and_alerts_or_a_folder() {
        assert!(plan(&[]).is_err());
        assert!(plan(&["--system", "s"]).is_err());
        assert!(plan(&["--alerts", "a"]).is_err());
        assert!(plan(&["--system", "s", "--alerts", "a"]).is_ok());
        assert!(plan(&["--incident", "d", "--constraints", "c"]).is_ok());
    }

    #[test]
    fn a_plan_can_name_its_tenant_and_its_priority() {
        let named = plan(&["--incident", "d", "--tenant", "blue-team", "--priority", "urgent"]).unwrap();
        assert_eq!(named.tenant.unwrap().as_str(), "blue-team");
        assert_eq!(named.priority.map(Priority::from), Some(Priority::Urgent));
        assert!(plan(&["--incident", "d", "--tenant", "a b"]).is_err());
        assert!(plan(&["--incident", "d", "--priority", "9"]).is_err());
    }

    #[test]
    fn coordinators_are_named_behind_any_command() {
        for arguments in [
            ["--coordinator", "http://a:1,b:2", "workers", "list"],
            ["workers", "--coordinator", "http://a:1,b:2", "list"],
            ["workers", "list", "--coordinator", "http://a:1,b:2"],
        ] {
            let cli = Cli::try_parse_from(["countermove"].into_iter().chain(arguments)).unwrap();
            assert_eq!(cli.remote.urls, ["http://a:1", "b:2"]);
        }
    }

    #[test]
    fn logs_are_named_as_often_as_there_are_some() {
        let several =
            plan(&["--system", "s", "--alerts", "a", "--alerts", "-", "--alerts", "folder"]).unwrap();
        assert_eq!(several.alerts.len(), 3);
        assert!(plan(&["--incident", "d", "--validate", "--json"]).unwrap().validate);
        assert!(plan(&["--incident", "d", "--validate", "--detach"]).is_err());
        assert!(Cli::try_parse_from(["countermove", "evidence"]).is_err());
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for arguments in [
            ["--candidates", "0"],
            ["--candidates", "17"],
            ["--rollouts", "257"],
            ["--depth", "33"],
            ["--steps", "0"],
            ["--thinking-tokens", "4097"],
            ["--temperature", "nan"],
            ["--temperature", "-1"],
            ["--seed", "-1"],
            ["--deadline", "0s"],
        ] {
            let all: Vec<_> = ["--incident", "d"].into_iter().chain(arguments).collect();
            assert!(plan(&all).is_err(), "{arguments:?}");
        }
        let good =
            plan(&["--incident", "d", "--seed", "18446744073709551615", "--temperature", "0"]).unwrap();
        assert_eq!((good.options.seed, good.options.temperature), (Some(u64::MAX), Some(0.0)));
    }

    #[test]
    fn what_follows_two_hyphens_is_the_command_of_up() {
        let all = ["countermove", "up", "--workers", "3", "--", "plan", "--incident", "d", "--json"];
        let Command::Up(up) = Cli::try_parse_from(all).unwrap().command else { panic!("not `up`") };
        assert_eq!(
            (up.workers, up.command),
            (3, ["plan", "--incident", "d", "--json"].map(String::from).to_vec())
        );
    }

    #[test]
    fn approval_without_asking_belongs_to_a_dialogue() {
        assert!(plan(&["--incident", "d", "--approve-reversible", "0.9"]).is_err());
    }
}
