//! Who may do what, against real coordinators: every call, by everybody who may not make it, and by those who may.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod approvals;
mod calls;
mod identity;
mod matrix;

use std::time::Duration;

use countermove_proto::v1 as api;
use countermove_proto::v1::access_service_client::AccessServiceClient;
use countermove_proto::v1::incident_service_client::IncidentServiceClient;
use countermove_tests::secured::{Server, channel, coordinator, dial, worker};
use countermove_tests::{AUDIENCE, Authority, Holder, Issuer, evidence, small_options, wait_until};
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};

const PATIENCE: Duration = Duration::from_secs(120);
/// What the first token reads.
const FIRST: &str = "0123456789abcdef0123456789abcdef";

/// A coordinator that asks who calls, and all that callers need.
struct World {
    authority: Authority,
    issuer: Issuer,
    coordinator: Server,
    worker: Server,
    folder: TempDir,
}

/// What a caller shows.
#[derive(Clone, Debug, Default)]
struct Shown {
    /// `authorization` headers, as they are.
    headers: Vec<String>,
    certificate: Option<Holder>,
    /// Who it claims that it passes the call on for.
    passes_on: Option<Vec<u8>>,
}

impl Shown {
    fn token(token: &str) -> Self {
        Self { headers: vec![format!("Bearer {token}")], ..Self::default() }
    }

    fn certificate(holder: Holder) -> Self {
        Self { certificate: Some(holder), ..Self::default() }
    }

    /// The request with what is shown.
    fn with<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(Duration::from_secs(30));
        for header in &self.headers {
            let header: MetadataValue<Ascii> = header.parse().unwrap();
            request.metadata_mut().append("authorization", header);
        }
        if let Some(principal) = &self.passes_on {
            request.metadata_mut().insert("countermove-passed-on", MetadataValue::from_static("1"));
            request
                .metadata_mut()
                .insert_bin("countermove-principal-bin", MetadataValue::from_bytes(principal));
        }
        request
    }
}

/// The file that says who may call: groups of the tenants blue and red, and of all.
fn policy(issuer: &Issuer, four_eyes: bool) -> String {
    let mut text = format!(
        "four_eyes = {four_eyes}\nfirst_token = \"first\"\n[[issuer]]\nurl = \"{}\"\naudience = \"{AUDIENCE}\"\n",
        issuer.url
    );
    for tenant in ["blue", "red", "*"] {
        for role in ["viewer", "responder", "approver", "operator", "admin"] {
            let group = if tenant == "*" { format!("all-{role}") } else { format!("{tenant}-{role}") };
            text +=
                &format!("[[grant]]\ngroup = \"{group}\"\ntenants = [\"{tenant}\"]\nroles = [\"{role}\"]\n");
        }
    }
    text + "[[grant]]\ncertificate = \"spiffe://test.local/user/export\"\ntenants = [\"blue\"]\nroles = [\"viewer\"]\n"
}

impl World {
    async fn start(four_eyes: bool) -> Self {
        Self::with(four_eyes, "", &[]).await
    }

    /// A world with more in its policy, and more flags for its coordinator.
    async fn with(four_eyes: bool, rules: &str, flags: &[&str]) -> Self {
        let (authority, issuer) = (Authority::new(), Issuer::start().await);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("first"), FIRST).unwrap();
        std::fs::write(folder.path().join("auth.toml"), policy(&issuer, four_eyes) + rules).unwrap();
        let worker = worker(&authority, &authority.issue("worker", "worker/w-1"), &[]);
        let coordinator = Self::coordinate(&authority, &worker, &folder, flags);
        let world = Self { authority, issuer, coordinator, worker, folder };
        world.until_a_worker_is_ready().await;
        world
    }

    fn coordinate(authority: &Authority, worker: &Server, folder: &TempDir, flags: &[&str]) -> Server {
        let own = authority.issue("coordinator", "coordinator/c-1");
        let auth = folder.path().join("auth.toml");
        coordinator(authority, &own, &worker.url, &[&["--auth", auth.to_str().unwrap()], flags].concat())
    }

    /// Writes the policy anew.
    fn rewrite_policy(&self, four_eyes: bool, rules: &str) {
        std::fs::write(self.folder.path().join("auth.toml"), policy(&self.issuer, four_eyes) + rules)
            .unwrap();
    }

    async fn until_a_worker_is_ready(&self) {
        let operator = Shown::token(&self.issuer.token("operator", &["all-operator"]));
        wait_until("a worker is ready", PATIENCE, || async {
            let workers = calls::workers(&self.channel(&operator), &operator).await.unwrap_or_default();
            workers.iter().any(|worker| worker.status() == api::WorkerStatus::Ready).then_some(())
        })
        .await;
    }

    /// A connection as this caller makes it.
    fn channel(&self, shown: &Shown) -> Channel {
        let dial = dial(Some(&self.authority.ca()), shown.certificate.as_ref());
        channel(&dial, &self.coordinator.url)
    }

    /// What somebody with these groups shows.
    fn known(&self, subject: &str, groups: &[&str]) -> Shown {
        Shown::token(&self.issuer.token(subject, groups))
    }

    fn incidents(&self, shown: &Shown) -> IncidentServiceClient<Channel> {
        IncidentServiceClient::new(self.channel(shown))
    }

    fn access(&self, shown: &Shown) -> AccessServiceClient<Channel> {
        AccessServiceClient::new(self.channel(shown))
    }

    /// An incident of the tenant blue whose first step waits for an approval.
    async fn waiting(&self, shown: &Shown) -> api::Incident {
        self.waiting_with(shown, |_| {}).await
    }

    /// The same, with other options.
    async fn waiting_with(&self, shown: &Shown, change: impl FnOnce(&mut api::PlanOptions)) -> api::Incident {
        let mut options = small_options(7);
        options.set_mode(api::PlanMode::Interactive);
        options.max_steps = 4;
        change(&mut options);
        let request = api::CreateIncidentRequest {
            evidence: Some(evidence()),
            options: Some(options),
            tenant: "blue".into(),
            ..api::CreateIncidentRequest::default()
        };
        let created = self.incidents(shown).create_incident(shown.with(request)).await.unwrap().into_inner();
        self.until_it_waits(shown, &created.incident.unwrap().name, 0).await
    }

    /// The incident, once it waits for an approval and has more events than these.
    async fn until_it_waits(&self, shown: &Shown, name: &str, after: u64) -> api::Incident {
        wait_until("an action waits for an approval", PATIENCE, || async {
            let incident = self.get(shown, name).await.unwrap();
            let waits = incident.status() == api::IncidentStatus::AwaitingApproval;
            (waits && incident.last_sequence > after).then_some(incident)
        })
        .await
    }

    async fn get(&self, shown: &Shown, name: &str) -> Result<api::Incident, Status> {
        let request = api::GetIncidentRequest { name: name.to_owned() };
        let answer = self.incidents(shown).get_incident(shown.with(request)).await?;
        Ok(answer.into_inner().incident.unwrap())
    }
}

/// The approval of the step that waits, by its hash.
fn approval(incident: &api::Incident) -> api::ApproveActionRequest {
    let step = incident.plan.as_ref().unwrap().steps.last().unwrap();
    api::ApproveActionRequest {
        name: incident.name.clone(),
        step: step.index,
        plan_hash: step.plan_hash.clone(),
        ..api::ApproveActionRequest::default()
    }
}
