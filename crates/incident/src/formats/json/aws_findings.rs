//! Findings of Amazon GuardDuty, as it exports them and as its API gives them (with capitals), and of AWS Security Hub (ASFF); both also
//! in EventBridge's `detail`. They are alerts. What Security Hub says of settings and weaknesses is telemetry.

use std::borrow::Cow;

use super::fields::Fields;
use super::{Draft, Envelope, Format, Object, ObjectFormat, Record, listed, tags, told};
use crate::Endpoint;
use crate::record::{RecordKind, SensorVerdict};

/// See the module.
pub(crate) const GUARD_DUTY: ObjectFormat = ObjectFormat { format: Format::GuardDuty, recognises, read };

/// Types of Security Hub's findings that tell of no attack.
const CHECKS: [&str; 2] = ["Software and Configuration Checks", "Sensitive Data Identifications"];

/// A finding.
#[derive(Clone, Copy, Debug)]
enum Finding<'a> {
    GuardDuty(Own<'a>),
    SecurityHub(Fields<'a>),
}

/// An object whose names begin with small letters in an export, and with capitals in the API's answer.
#[derive(Clone, Copy, Debug)]
struct Own<'a>(Fields<'a>);

impl<'a> Own<'a> {
    fn either<T>(path: &str, get: impl Fn(&str) -> Option<T>) -> Option<T> {
        get(path).or_else(|| get(&capitals(path)))
    }

    fn text(self, path: &str) -> Option<Cow<'a, str>> {
        Own::either(path, |path| self.0.text(path))
    }

    fn first(self, paths: &[&str]) -> Option<Cow<'a, str>> {
        paths.iter().find_map(|path| self.text(path))
    }

    fn object(self, path: &str) -> Option<Own<'a>> {
        Own::either(path, |path| self.0.object(path)).map(Own)
    }

    fn number(self, path: &str) -> Option<u64> {
        Own::either(path, |path| self.0.number(path))
    }

    fn is_true(self, path: &str) -> bool {
        self.text(path).is_some_and(|is| is == "true")
    }

    /// The end with this address, and the port that is given.
    fn end(self, addresses: &[&str], port: &str) -> Option<Endpoint> {
        let end = addresses.iter().find_map(|path| Own::either(path, |path| self.0.address(&[path])))?;
        let port = Own::either(port, |path| self.0.port(&[path]));
        Some(Endpoint { port, ..end })
    }
}

/// `service.action` as `Service.Action`.
fn capitals(path: &str) -> String {
    let parts = path.split('.').map(|part| {
        let mut letters = part.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    parts.collect::<Vec<_>>().join(".")
}

impl<'a> Finding<'a> {
    fn of(object: &'a Object) -> Option<Finding<'a>> {
        let outer = Fields(object);
        Finding::of_fields(outer).or_else(|| Finding::of_fields(outer.object("detail")?))
    }

    fn of_fields(fields: Fields<'a>) -> Option<Finding<'a>> {
        let is_text = |key: &str| fields.string(key).is_some();
        if ["SchemaVersion", "ProductArn", "Title"].iter().all(|key| is_text(key))
            && ["Types", "Severity", "Resources"].iter().any(|key| fields.has(key))
        {
            return Some(Finding::SecurityHub(fields));
        }
        let own = Own(fields);
        let is_own = ["schemaVersion", "type"].iter().all(|key| is_text(key) || is_text(&capitals(key)))
            && own.text("severity").is_some()
            && own.object("resource").is_some()
            && (own.object("service").is_some() || own.text("arn").is_some());
        is_own.then_some(Finding::GuardDuty(own))
    }
}

fn recognises(object: &Object) -> bool {
    Finding::of(object).is_some()
}

fn read(object: &Object, envelope: &Envelope<'_>) -> Option<Record> {
    let draft = match Finding::of(object)? {
        Finding::GuardDuty(finding) => guard_duty(finding)?,
        Finding::SecurityHub(finding) => security_hub(finding)?,
    };
    Some(draft.finish(Format::GuardDuty, object, envelope))
}

fn guard_duty(finding: Own<'_>) -> Option<Draft<'_>> {
    let kind = finding.text("type")?;
    let title = finding.first(&["title", "description"]).unwrap_or_else(|| kind.clone());
    let local = finding.end(&["resource.instanceDetails.networkInterfaces.privateIpAddress"], "");
    let is_actor =
        finding.text("service.resourceRole").is_some_and(|role| role.eq_ignore_ascii_case("actor"));
    let action = finding.object("service.action").map(|action| Action::of(action, local.clone(), is_actor));
    let action = action.unwrap_or_else(|| Action { destination: local, ..Action::default() });
    let account = finding.first(&[
        "resource.accessKeyDetails.userName",
        "resource.kubernetesDetails.kubernetesUserDetails.username",
        "resource.rdsDbUserDetails.user",
    ]);
    let mut draft = Draft {
        kind: RecordKind::Alert,
        time: ["service.eventLastSeen", "updatedAt", "createdAt"]
            .iter()
            .find_map(|path| Own::either(path, |path| finding.0.time(&[path]))),
        sensor: Cow::Borrowed("guardduty"),
        host: instance_name(finding).unwrap_or_default(),
        message: title,
        detail: Cow::Owned(listed([
            finding.is_true("service.additionalInfo.sample").then(|| "a sample".to_owned()),
            told("dns", action.domain),
            told("api", action.api),
            told("upon", finding.first(&RESOURCES)),
            told("region", finding.text("region")),
            told("account", finding.text("accountId")),
        ])),
        rule: kind.clone(),
        priority: match finding.number("severity") {
            None | Some(0) => None,
            Some(7..) => Some(1),
            Some(4..) => Some(2),
            Some(_) => Some(3),
        },
        protocol: action.protocol.unwrap_or_default(),
        source: action.source,
        destination: action.destination,
        verdict: action.is_blocked.then_some(SensorVerdict::Blocked),
        account: account.unwrap_or_default(),
        process: finding
            .first(&["service.runtimeDetails.process.executablePath", "service.runtimeDetails.process.name"])
            .unwrap_or_default(),
        file: finding
            .first(&[
                "service.runtimeDetails.context.threatFilePath",
                "service.runtimeDetails.context.scriptPath",
                "service.ebsVolumeScanDetails.scanDetections.threatDetectedByName.threatNames.filePaths.filePath",
                "resource.s3BucketDetails.name",
            ])
            .unwrap_or_default(),
        ..Draft::default()
    };
    // The purpose stands in front: `CredentialAccess:Kubernetes/MaliciousIPCaller`.
    draft.tags.take_all(kind.split(':').next());
    draft.classification = kind;
    Some(draft)
}

/// Names of what a finding is about.
const RESOURCES: [&str; 7] = [
    "resource.instanceDetails.instanceId",
    "resource.eksClusterDetails.name",
    "resource.rdsDbInstanceDetails.dbInstanceIdentifier",
    "resource.s3BucketDetails.name",
    "resource.ecsClusterDetails.name",
    "resource.lambdaDetails.functionName",
    "resource.resourceType",
];

/// What its owner calls an instance.
fn instance_name(finding: Own<'_>) -> Option<Cow<'_, str>> {
    let path = "resource.instanceDetails.tags";
    let tags = finding.0.objects(path).chain(finding.0.objects(&capitals(path))).map(Own);
    tags.filter(|tag| tag.text("key").is_some_and(|key| key == "Name")).find_map(|tag| tag.text("value"))
}

/// What was seen, in the form that both services share.
#[derive(Clone, Debug, Default)]
struct Action<'a> {
    source: Option<Endpoint>,
    destination: Option<Endpoint>,
    protocol: Option<Cow<'a, str>>,
    domain: Option<Cow<'a, str>>,
    api: Option<String>,
    is_blocked: bool,
}

impl<'a> Action<'a> {
    /// Reads it; `local` is the address of the resource, which acts or is acted upon.
    fn of(action: Own<'a>, local: Option<Endpoint>, is_actor: bool) -> Action<'a> {
        let remote = |of: Own<'a>| {
            of.end(&["remoteIpDetails.ipAddressV4", "remoteIpDetails.ipAddressV6"], "remotePortDetails.port")
        };
        let own = |of: Own<'a>| {
            let told = of.end(&["localIpDetails.ipAddressV4"], "localPortDetails.port");
            let port = Own::either("localPortDetails.port", |path| of.0.port(&[path]));
            told.or_else(|| Some(Endpoint { port, ..local.clone()? }))
        };
        if let Some(connection) = action.object("networkConnectionAction") {
            let direction = connection.text("connectionDirection").unwrap_or_default();
            let goes_out = match direction.to_ascii_uppercase().as_str() {
                "OUTBOUND" | "OUT" => true,
                "INBOUND" | "IN" => false,
                _ => is_actor,
            };
            let (here, there) = (own(connection), remote(connection));
            let (source, destination) = if goes_out { (here, there) } else { (there, here) };
            return Action {
                source,
                destination,
                protocol: connection.text("protocol"),
                is_blocked: connection.is_true("blocked"),
                ..Action::default()
            };
        }
        if let Some(probes) = action.object("portProbeAction") {
            let first =
                probes.0.objects("portProbeDetails").chain(probes.0.objects("PortProbeDetails")).next();
            let probe = first.map(Own);
            return Action {
                source: probe.and_then(remote),
                destination: probe.and_then(own),
                is_blocked: probes.is_true("blocked"),
                ..Action::default()
            };
        }
        if let Some(asked) = action.object("dnsRequestAction") {
            return Action {
                source: local,
                protocol: asked.text("protocol"),
                domain: asked.text("domain"),
                is_blocked: asked.is_true("blocked"),
                ..Action::default()
            };
        }
        for call in ["awsApiCallAction", "kubernetesApiCallAction", "rdsLoginAttemptAction"] {
            let Some(call) = action.object(call) else { continue };
            let listed = || call.end(&["sourceIPs", "sourceIps"], "");
            let verb = call.first(&["api", "verb"]);
            return Action {
                source: remote(call).or_else(listed).map(|end| Endpoint { port: None, ..end }),
                destination: local,
                api: verb.map(|verb| match call.first(&["serviceName", "requestUri"]) {
                    Some(service) => format!("{verb} ({service})"),
                    None => verb.into_owned(),
                }),
                ..Action::default()
            };
        }
        Action { destination: local.filter(|_| !is_actor), ..Action::default() }
    }
}

fn security_hub(finding: Fields<'_>) -> Option<Draft<'_>> {
    let kinds = finding.texts("Types");
    let kind = kinds.first().cloned().unwrap_or_default();
    let is_check = finding.has("Compliance.Status")
        || !kinds.is_empty() && kinds.iter().all(|kind| CHECKS.iter().any(|check| kind.starts_with(check)));
    let address = |path: &str| finding.objects("Resources").find_map(|resource| resource.address(&[path]));
    let local = address("Details.AwsEc2Instance.IpV4Addresses");
    let is_actor = finding
        .text("ProductFields.aws/guardduty/service/resourceRole")
        .is_some_and(|role| role.eq_ignore_ascii_case("actor"));
    let action = finding.object("Action").map(|action| Action::of(Own(action), local.clone(), is_actor));
    let mut action = action.unwrap_or_default();
    let network = |address: [&str; 2], port: &str| {
        let end = finding.address(&address)?;
        Some(Endpoint { port: finding.port(&[port]), ..end })
    };
    let source = network(["Network.SourceIpV4", "Network.SourceIpV6"], "Network.SourcePort");
    let destination =
        network(["Network.DestinationIpV4", "Network.DestinationIpV6"], "Network.DestinationPort");
    if source.is_some() || destination.is_some() {
        (action.source, action.destination) = (source, destination);
    }
    let resource = |path: &str| finding.objects("Resources").find_map(|resource| resource.text(path));
    let generator = finding.text("GeneratorId").filter(|generator| !generator.starts_with("arn:"));
    let title = finding.text("Title")?;
    let mut draft = Draft {
        kind: if is_check { RecordKind::Telemetry } else { RecordKind::Alert },
        time: finding.time(&["LastObservedAt", "UpdatedAt", "CreatedAt"]),
        sensor: finding.text("ProductName").unwrap_or(Cow::Borrowed("securityhub")),
        host: resource("Tags.Name").unwrap_or_default(),
        detail: Cow::Owned(listed([
            told("dns", action.domain),
            told("api", action.api),
            told("upon", resource("Id")),
            told("region", finding.text("Region")),
            told("account", finding.text("AwsAccountId")),
        ])),
        message: title,
        rule: generator.unwrap_or_else(|| kind.clone()),
        priority: finding.text("Severity.Label").and_then(|label| tags::severity(&label)).or_else(|| {
            match finding.number("Severity.Normalized")? {
                0 => Some(4),
                1..=39 => Some(3),
                40..=69 => Some(2),
                _ => Some(1),
            }
        }),
        protocol: action.protocol.or_else(|| finding.text("Network.Protocol")).unwrap_or_default(),
        source: action.source,
        destination: action.destination,
        verdict: action.is_blocked.then_some(SensorVerdict::Blocked),
        account: resource("Details.AwsIamAccessKey.PrincipalName")
            .or_else(|| resource("Details.AwsIamAccessKey.UserName"))
            .unwrap_or_default(),
        process: finding.first(&["Process.Path", "Process.Name"]).unwrap_or_default(),
        file: finding.first(&["Malware.Path", "Threats.FilePaths.FilePath"]).unwrap_or_default(),
        ..Draft::default()
    };
    // `TTPs/Credential Access/…`
    draft.tags.take_all(kinds.iter().filter_map(|kind| kind.strip_prefix("TTPs/")?.split('/').next()));
    draft.classification = kind;
    Some(draft)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{changed, record};
    use super::*;
    use crate::Tactic;

    const FINDING: &str = r#"{"schemaVersion":"2.0","accountId":"123456789012","region":"eu-central-1","partition":"aws","id":"f1","arn":"arn:aws:guardduty:eu-central-1:123456789012:detector/d1/finding/f1","type":"CredentialAccess:EC2/InventedBruteForce","resource":{"resourceType":"Instance","instanceDetails":{"instanceId":"i-0123456789","networkInterfaces":[{"privateIpAddress":"10.0.2.11","publicIp":"198.51.100.20"}],"tags":[{"key":"team","value":"shop"},{"key":"Name","value":"bastion01"}]}},"service":{"serviceName":"guardduty","detectorId":"d1","action":{"actionType":"NETWORK_CONNECTION","networkConnectionAction":{"connectionDirection":"INBOUND","remoteIpDetails":{"ipAddressV4":"203.0.113.9","country":{"countryName":"Norway"}},"remotePortDetails":{"port":51234,"portName":"Unknown"},"localPortDetails":{"port":22,"portName":"SSH"},"protocol":"TCP","blocked":false}},"resourceRole":"TARGET","eventFirstSeen":"2026-06-03T12:50:00Z","eventLastSeen":"2026-06-03T12:59:31Z","archived":false,"count":7},"severity":5.3,"createdAt":"2026-06-03T13:00:00Z","updatedAt":"2026-06-03T13:00:00Z","title":"SSH passwords are tried on bastion01.","description":"x"}"#;

    const HUB: &str = r#"{"SchemaVersion":"2018-10-08","Id":"h1","ProductArn":"arn:aws:securityhub:eu-central-1::product/example/edr","ProductName":"Invented EDR","GeneratorId":"rule-7","AwsAccountId":"123456789012","Region":"eu-central-1","Types":["TTPs/Command and Control/Beacon"],"CreatedAt":"2026-06-03T13:00:00Z","UpdatedAt":"2026-06-03T13:00:00Z","LastObservedAt":"2026-06-03T12:59:31Z","Severity":{"Label":"HIGH"},"Title":"Beacon to a known server","Description":"x","Network":{"Direction":"OUT","Protocol":"TCP","SourceIpV4":"10.0.2.13","SourcePort":45000,"DestinationIpV4":"198.51.100.77","DestinationPort":443},"Process":{"Path":"/tmp/u"},"Resources":[{"Type":"AwsEc2Instance","Id":"arn:aws:ec2:eu-central-1:123456789012:instance/i-0123456789","Tags":{"Name":"web01"}}],"RecordState":"ACTIVE"}"#;

    #[test]
    fn a_finding_of_guardduty_is_an_alert_with_both_ends() {
        let record = record(FINDING);
        assert_eq!((record.kind, record.priority), (RecordKind::Alert, Some(2)));
        assert_eq!(record.message, "SSH passwords are tried on bastion01.");
        assert_eq!(record.classification, "CredentialAccess:EC2/InventedBruteForce");
        assert_eq!(record.tactics, [Tactic::CredentialAccess]);
        assert_eq!(record.source, Some(Endpoint::new("203.0.113.9", Some(51234))));
        assert_eq!(record.destination, Some(Endpoint::new("10.0.2.11", Some(22))));
        assert_eq!((record.host.as_str(), record.protocol.as_str()), ("bastion01", "TCP"));
        assert_eq!(record.time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
    }

    #[test]
    fn severities_are_those_that_aws_names_high_medium_and_low() {
        for (severity, expected) in [
            (json!(9.5), Some(1)),
            (json!(7), Some(1)),
            (json!(6.9), Some(2)),
            (json!(4), Some(2)),
            (json!(3.9), Some(3)),
            (json!(0), None),
        ] {
            assert_eq!(changed(FINDING, &[("severity", severity.clone())]).priority, expected, "{severity}");
        }
    }

    #[test]
    fn who_connects_acts_and_what_was_stopped_is_blocked() {
        let service = |action: Value| ("service", json!({"action": action, "resourceRole": "ACTOR"}));
        let out = json!({"networkConnectionAction": {"connectionDirection": "OUTBOUND", "protocol": "TCP", "blocked": true,
            "remoteIpDetails": {"ipAddressV4": "198.51.100.77"}, "remotePortDetails": {"port": 4444}, "localPortDetails": {"port": 45000}}});
        let out = changed(FINDING, &[service(out)]);
        assert_eq!(out.source, Some(Endpoint::new("10.0.2.11", Some(45000))));
        assert_eq!(out.destination, Some(Endpoint::new("198.51.100.77", Some(4444))));
        assert_eq!(out.verdict, Some(SensorVerdict::Blocked));
        let asked =
            json!({"dnsRequestAction": {"domain": "c2.example.net", "protocol": "UDP", "blocked": false}});
        let asked = changed(FINDING, &[service(asked)]);
        assert_eq!((asked.source.unwrap().address.as_str(), asked.destination), ("10.0.2.11", None));
        assert!(asked.detail.starts_with("dns c2.example.net"), "{}", asked.detail);
    }

    #[test]
    fn a_call_names_the_account_and_where_it_came_from() {
        let action = json!({"awsApiCallAction": {"api": "CreateUser", "serviceName": "iam.amazonaws.com",
            "remoteIpDetails": {"ipAddressV4": "203.0.113.9"}}});
        let key = json!({"resourceType": "AccessKey", "accessKeyDetails": {"userName": "deploy", "accessKeyId": "AKIA"}});
        let call = changed(FINDING, &[("resource", key), ("service", json!({"action": action}))]);
        assert_eq!((call.account.as_str(), call.source.unwrap().address.as_str()), ("deploy", "203.0.113.9"));
        assert!(call.detail.starts_with("api CreateUser (iam.amazonaws.com)"), "{}", call.detail);
    }

    #[test]
    fn the_api_and_eventbridge_give_the_same() {
        fn raised(value: &Value) -> Value {
            match value {
                Value::Object(object) => {
                    Value::Object(object.iter().map(|(key, value)| (capitals(key), raised(value))).collect())
                }
                Value::Array(items) => items.iter().map(raised).collect(),
                leaf => leaf.clone(),
            }
        }
        let capital = raised(&serde_json::from_str(FINDING).unwrap());
        let event = format!(r#"{{"version":"0","detail-type":"GuardDuty Finding","detail":{FINDING}}}"#);
        let own = record(FINDING);
        for text in [capital.to_string(), event] {
            let other = record(&text);
            assert_eq!(Record { raw: own.raw.clone(), ..other }, own, "{text}");
        }
    }

    #[test]
    fn a_finding_of_security_hub_is_an_alert_and_a_check_of_settings_is_none() {
        let finding = record(HUB);
        assert_eq!((finding.kind, finding.priority), (RecordKind::Alert, Some(1)));
        assert_eq!((finding.message.as_str(), finding.rule.as_str()), ("Beacon to a known server", "rule-7"));
        assert_eq!(finding.source, Some(Endpoint::new("10.0.2.13", Some(45000))));
        assert_eq!(finding.destination, Some(Endpoint::new("198.51.100.77", Some(443))));
        assert_eq!(
            (finding.tactics.as_slice(), finding.host.as_str()),
            (&[Tactic::CommandAndControl][..], "web01")
        );
        let check =
            changed(HUB, &[("Types", json!(["Software and Configuration Checks/Vulnerabilities/CVE"]))]);
        assert_eq!(check.kind, RecordKind::Telemetry);
    }

    #[test]
    fn texts_of_others_name_no_end() {
        let hostile = "x src=10.0.2.20 10.0.2.21 user=root";
        let told = changed(
            FINDING,
            &[
                ("title", hostile.into()),
                ("description", hostile.into()),
                (
                    "service",
                    json!({"action": {"networkConnectionAction": {"remoteIpDetails": {"ipAddressV4": hostile}}}}),
                ),
            ],
        );
        assert_eq!((told.source, told.account.as_str()), (None, ""));
    }
}
