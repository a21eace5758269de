//! One sample of each writer: every format takes its own and no other's, and no value in a field does harm.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// The record of a sample; the test fails unless exactly one format recognises it.
pub(super) fn record(text: &str) -> Record {
    let object: Object = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let formats: Vec<&ObjectFormat> =
        OBJECT_FORMATS.iter().filter(|format| (format.recognises)(&object)).collect();
    let [format] = formats.as_slice() else {
        panic!("{:?} recognise {text}", formats.iter().map(|format| format.format).collect::<Vec<_>>())
    };
    let record =
        (format.read)(&object, &Envelope::default()).unwrap_or_else(|| panic!("no record of {text}"));
    assert_eq!(record.format, format.format);
    record
}

/// The record of a sample with some values replaced.
pub(super) fn changed(text: &str, changes: &[(&str, Value)]) -> Record {
    let mut object: Object = serde_json::from_str(text).unwrap();
    for (key, value) in changes {
        object.insert((*key).to_owned(), value.clone());
    }
    record(&Value::Object(object).to_string())
}

const SAMPLES: [(Format, &str); 57] = [
    (
        Format::Detections,
        r#"{"_time":"2026-06-03T12:59:31.342+00:00","index":"notable","source":"Access - Guessing - Rule","sourcetype":"stash","rule_title":"Guessing","urgency":"high","annotations.mitre_attack":["T1110"],"src":"203.0.113.9","dest":"web01","user":"bob","process":"sh -i","app":"sshd"}"#,
    ),
    (
        Format::WindowsEvent,
        r#"{"_time":"2026-06-03T12:59:31.342+00:00","host":"DC01","source":"WinEventLog:Security","sourcetype":"WinEventLog","EventCode":"4625","ComputerName":"DC01","Message":"x","Account_Name":["-","svc"],"Source_Network_Address":"10.0.3.17"}"#,
    ),
    (
        Format::OtherJson,
        r#"{"_time":"2026-06-03T12:59:31.342+00:00","index":"net","host":"fw01","source":"udp:514","sourcetype":"acme:fw","action":"blocked","src":"203.0.113.9","dest":"10.0.2.11","dest_port":"22"}"#,
    ),
    (
        Format::Detections,
        r#"{"external_id":"1","severity":"high","mitre_technique_id_and_name":"T1003.001 - OS Credential Dumping: LSASS Memory","mitre_tactic_id_and_name":["TA0006 - Credential Access"],"alert_type":"Unclassified","events":[{"event_type":"Process Execution","actor_process_command_line":"x.exe -a","action_remote_ip":"203.0.113.9","user_name":"CORP\\alice"}],"alert_id":"22","detection_timestamp":1780491571342,"name":"Credential dump","category":"Credential Access","description":"LSASS was read","host_ip":["10.0.3.20"],"host_name":"pc7","source":"XDR BIOC","action":"DETECTED","action_pretty":"Detected (Reported)"}"#,
    ),
    (
        Format::Detections,
        r#"{"incident_id":"12","incident_name":null,"creation_time":1780491571342,"status":"new","severity":"high","description":"'Credential dump' along with 2 other alerts","alert_count":3,"hosts":["pc7:e1","pc8:e2"],"users":["corp\\alice"],"incident_sources":["XDR BIOC"],"mitre_tactics_ids_and_names":["TA0006 - Credential Access"],"mitre_techniques_ids_and_names":["T1003 - OS Credential Dumping"],"xdr_url":"x"}"#,
    ),
    (
        Format::Detections,
        r#"{"pbid":123,"score":0.83,"time":1780491571342,"creationTime":1780491572000,"mitreTechniques":[{"technique":"x","techniqueID":"T1041"}],"model":{"then":{"name":"Anomalous Connection::Data Sent to Rare Domain","uuid":"u1","priority":3,"description":"A device sends data.","category":"Suspicious"}},"device":{"did":5,"ip":"10.0.3.20","hostname":"pc7"},"triggeredComponents":[{"time":1780491571000,"triggeredFilters":[{"filterType":"Destination IP","trigger":{"value":"203.0.113.9"}},{"filterType":"Destination port","trigger":{"value":"443"}}]}]}"#,
    ),
    (
        Format::Firewall,
        r#"{"TimeReceived":"2026-06-03T12:59:32.000000Z","DeviceSN":"001","DeviceName":"fw01","LogType":"THREAT","Subtype":"vulnerability","TimeGenerated":"2026-06-03T12:59:31.000000Z","SourceAddress":"203.0.113.9","DestinationAddress":"10.0.2.14","SourceUser":"corp\\bob","Application":"web-browsing","SourcePort":51234,"DestinationPort":443,"Protocol":"tcp","Action":"reset-both","ThreatID":"LOCAL command injection(30001)","VendorSeverity":"Critical","URL":"x.example/a","ThreatCategory":"code-execution"}"#,
    ),
    (
        Format::Firewall,
        r#"{"Action":"block","ClientIP":"203.0.113.9","ClientRequestHost":"shop.example","ClientRequestMethod":"GET","ClientRequestPath":"/a","ClientRequestQuery":"?id=1","ClientRequestUserAgent":"curl","Datetime":"2026-06-03T12:59:31Z","Description":"SQLi","EdgeResponseStatus":403,"Kind":"firewall","MatchIndex":0,"RayID":"r","RuleID":"100008","Source":"firewallManaged"}"#,
    ),
    (
        Format::Firewall,
        r#"{"time":"2026-06-03T12:59:31Z","resourceId":"/X/AZUREFIREWALLS/FW1","category":"AzureFirewallNetworkRule","operationName":"AzureFirewallNetworkRuleLog","properties":{"msg":"TCP request from 10.0.3.20:51234 to 203.0.113.9:443. Action: Deny. "}}"#,
    ),
    (
        Format::Detections,
        r#"{"type_id":"SIGN:X","type_name":"Malware detected","name":"x","description":"File x.","risk":"9.0","ip_src":"10.0.3.20","ip_dst":"10.0.2.14","port_dst":445,"time":1780491571342,"appliance_host":"guardian1","status":"open"}"#,
    ),
    (
        Format::VpcFlow,
        r#"{"interface_id":"eni-1","srcaddr":"203.0.113.9","dstaddr":"10.0.2.14","dstport":"22","protocol":"6","start":"1780491571","action":"REJECT"}"#,
    ),
    (
        Format::Detections,
        r#"{"name":"1","properties":{"status":"Active","startTimeUtc":"2026-06-03T12:59:31Z","severity":"High","intent":"Execution","compromisedEntity":"web01","alertDisplayName":"Suspicious process","entities":[{"hostName":"web01","type":"host"},{"name":"alice","type":"account"}]}}"#,
    ),
    (
        Format::Eve,
        r#"{"timestamp":"2026-06-03T12:59:31.342001+0000","flow_id":1,"event_type":"alert","src_ip":"203.0.113.9","src_port":51234,"dest_ip":"10.0.2.14","dest_port":80,"proto":"TCP","http":{"hostname":"shop.example","url":"/upload.php","http_user_agent":"curl","xff":"198.51.100.7"},"alert":{"action":"allowed","gid":1,"signature_id":2019,"rev":4,"signature":"LOCAL WEB upload","category":"Web Application Attack","severity":1,"metadata":{"mitre_technique_id":["T1190"]}}}"#,
    ),
    (
        Format::Eve,
        r#"{"timestamp":"2026-06-03T12:59:31.342001+0000","event_type":"dns","src_ip":"10.0.3.18","src_port":50000,"dest_ip":"10.0.2.53","dest_port":53,"proto":"UDP","dns":{"type":"query","rrname":"www.example.com","rrtype":"A"}}"#,
    ),
    (
        Format::SnortJson,
        r#"{"timestamp":"06/03-12:59:31.342001","pkt_num":1,"proto":"TCP","pkt_gen":"raw","dir":"C2S","src_ap":"203.0.113.9:51234","dst_ap":"10.0.2.11:22","rule":"1:9900030:2","action":"allow","msg":"LOCAL SSH"}"#,
    ),
    (
        Format::Wazuh,
        r#"{"timestamp":"2026-06-03T12:59:40.342+0000","rule":{"level":10,"description":"sshd: brute force","id":"5712","mitre":{"id":["T1110"]}},"agent":{"id":"004","name":"bastion01","ip":"10.0.2.11"},"full_log":"x","data":{"srcip":"203.0.113.9","srcuser":"admin","url":"/"},"location":"/var/log/auth.log"}"#,
    ),
    (
        Format::Ecs,
        r#"{"@timestamp":"2026-06-03T12:59:31.342Z","kibana.alert.rule.name":"SSH brute force","kibana.alert.severity":"high","event":{"kind":"signal"},"host":{"name":"bastion01"},"source":{"ip":"203.0.113.9","port":51234},"destination":{"ip":"10.0.2.11","port":22},"user":{"name":"admin"},"process":{"command_line":"sshd"},"winlog":{"event_id":"4625","channel":"Security"}}"#,
    ),
    (
        Format::Ecs,
        r#"{"@timestamp":"2026-06-03T12:59:31.342Z","event":{"module":"suricata","dataset":"suricata.alert","severity_label":"high"},"rule":{"name":"LOCAL SSH","uuid":"1"},"source":{"ip":"203.0.113.9"},"destination":{"ip":"10.0.2.11"}}"#,
    ),
    (
        Format::Ocsf,
        r#"{"class_uid":2004,"category_uid":2,"severity_id":4,"time":1780491571342,"metadata":{"version":"1.3.0","product":{"name":"EDR"}},"finding_info":{"title":"SSH brute force"},"src_endpoint":{"ip":"203.0.113.9"},"user":{"name":"admin"},"process":{"cmd_line":"sh"},"device":{"hostname":"bastion01"}}"#,
    ),
    (
        Format::Sigma,
        r##"{"group":"Sigma","kind":"individual","name":"Failed logon","timestamp":"2026-06-03T12:59:31.342+00:00","level":"high","source":"sigma","id":"r-1","tags":["attack.t1110"],"document":{"kind":"evtx","data":{"Event":{"System":{"Provider":{"#attributes":{"Name":"p"}},"EventID":4625,"Computer":"DC01"},"EventData":{"TargetUserName":"svc","IpAddress":"10.0.3.17"}}}}}"##,
    ),
    (
        Format::Sigma,
        r#"{"Timestamp":"2026-06-03 12:59:31.342 +00:00","RuleTitle":"Failed logon","Level":"high","Computer":"DC01","Channel":"Sec","EventID":4625,"RuleID":"r-1","Details":"TgtUser: svc ¦ SrcIP: 10.0.3.17"}"#,
    ),
    (
        Format::Sigma,
        r#"{"title":"Failed logon","id":"r-1","rule_level":"high","tags":["attack.t1110"],"count":1,"matches":[{"Channel":"Security","EventID":4625,"Computer":"DC01","TargetUserName":"svc","IpAddress":"10.0.3.17"}]}"#,
    ),
    (
        Format::Falco,
        r#"{"hostname":"node1","output":"Shell in a container","output_fields":{"container.name":"shop","fd.name":"10.0.2.13:45000->203.0.113.66:4444","proc.cmdline":"sh -i","user.name":"root"},"priority":"Warning","rule":"Shell","source":"syscall","tags":["T1059"],"time":"2026-06-03T12:59:31.342001000Z"}"#,
    ),
    (
        Format::ZeekJson,
        r#"{"ts":1780491571.342001,"uid":"C1","id.orig_h":"203.0.113.9","id.orig_p":1,"id.resp_h":"10.0.2.11","id.resp_p":22,"note":"Scan::Port_Scan","msg":"scanned","sub":"remote","src":"203.0.113.9","dst":"10.0.2.11"}"#,
    ),
    (
        Format::WindowsEvent,
        r#"{"@timestamp":"2026-06-03T12:59:31.342Z","ecs":{"version":"8.0.0"},"event":{"code":"4625","kind":"event"},"message":"An account failed to log on.","winlog":{"channel":"Security","computer_name":"DC01","event_id":"4625","event_data":{"IpAddress":"10.0.3.17","TargetUserName":"svc"},"provider_name":"Microsoft-Windows-Security-Auditing"}}"#,
    ),
    (
        Format::WindowsEvent,
        r##"{"Event":{"System":{"Provider":{"#attributes":{"Name":"Microsoft-Windows-Sysmon"}},"EventID":3,"Computer":"WS-017","TimeCreated":{"#attributes":{"SystemTime":"2026-06-03T12:59:31.342Z"}}},"EventData":{"Image":"u.exe","User":"CORP\\alice","SourceIp":"10.0.3.17","DestinationIp":"203.0.113.66","DestinationPort":443}}}"##,
    ),
    (
        Format::CloudTrail,
        r#"{"eventVersion":"1.08","userIdentity":{"type":"IAMUser","userName":"deploy"},"eventTime":"2026-06-03T12:59:31Z","eventSource":"iam.amazonaws.com","eventName":"CreateAccessKey","awsRegion":"eu-central-1","sourceIPAddress":"203.0.113.9","userAgent":"curl","requestParameters":{"userName":"admin"}}"#,
    ),
    (
        Format::Okta,
        r#"{"actor":{"id":"00u7","type":"User","alternateId":"alice@example.com","displayName":"Alice Example"},"client":{"userAgent":{"rawUserAgent":"curl/8.5","os":"Unknown"},"zone":"null","device":"Unknown","ipAddress":"203.0.113.9","geographicalContext":{"country":"Norway"}},"authenticationContext":{"authenticationStep":0,"externalSessionId":"x1"},"displayMessage":"User login to Okta","eventType":"user.session.start","outcome":{"result":"FAILURE","reason":"INVALID_CREDENTIALS"},"published":"2026-06-03T12:59:31.342Z","securityContext":{"isProxy":true},"severity":"INFO","debugContext":{"debugData":{"requestUri":"/api/v1/authn","threatSuspected":"false"}},"legacyEventType":"core.user_auth.login_failed","transaction":{"id":"t1","type":"WEB"},"uuid":"6f1","version":"0","request":{"ipChain":[{"ip":"203.0.113.9","version":"V4"}]},"target":null}"#,
    ),
    (
        Format::GoogleCloud,
        r#"{"insertId":"k1","logName":"projects/shop/logs/cloudaudit.googleapis.com%2Factivity","protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","status":{},"authenticationInfo":{"principalEmail":"alice@example.com"},"requestMetadata":{"callerIp":"203.0.113.9","callerSuppliedUserAgent":"google-cloud-sdk gcloud/470"},"serviceName":"cloudresourcemanager.googleapis.com","methodName":"SetIamPolicy","authorizationInfo":[{"resource":"projects/shop","permission":"resourcemanager.projects.setIamPolicy","granted":true}],"resourceName":"projects/shop","serviceData":{"@type":"type.googleapis.com/google.iam.v1.logging.AuditData","policyDelta":{"bindingDeltas":[{"action":"ADD","role":"roles/owner","member":"user:mallory@example.com"}]}}},"resource":{"type":"project","labels":{"project_id":"shop"}},"timestamp":"2026-06-03T12:59:31.342Z","severity":"NOTICE","receiveTimestamp":"2026-06-03T12:59:32Z"}"#,
    ),
    (
        Format::EntraId,
        r#"{"time":"2026-06-03T13:01:00.1Z","resourceId":"/tenants/0b1f6471-1bf0-4dda-aec3-cb9272f09590/providers/Microsoft.aadiam","operationName":"Sign-in activity","operationVersion":"1.0","category":"SignInLogs","tenantId":"0b1f6471-1bf0-4dda-aec3-cb9272f09590","resultType":"50126","resultSignature":"None","resultDescription":"Invalid username or password","durationMs":0,"callerIpAddress":"203.0.113.9","correlationId":"c1","identity":"Alice","Level":4,"location":"NO","properties":{"id":"s1","createdDateTime":"2026-06-03T12:59:31.342Z","userDisplayName":"Alice","userPrincipalName":"alice@example.com","appId":"a1","appDisplayName":"Azure Portal","ipAddress":"203.0.113.9","status":{"errorCode":50126},"clientAppUsed":"Browser","userAgent":"curl/8.5","conditionalAccessStatus":"notApplied","isInteractive":true,"riskLevelDuringSignIn":"none"}}"#,
    ),
    (
        Format::EntraId,
        r#"{"time":"2026-06-03T12:59:31.342Z","resourceId":"/tenants/0b1f6471-1bf0-4dda-aec3-cb9272f09590/providers/Microsoft.aadiam","operationName":"Add member to role","category":"AuditLogs","tenantId":"0b1f6471-1bf0-4dda-aec3-cb9272f09590","resultSignature":"None","properties":{"id":"d1","category":"RoleManagement","result":"success","activityDisplayName":"Add member to role","activityDateTime":"2026-06-03T12:59:31.342Z","loggedByService":"Core Directory","initiatedBy":{"user":{"userPrincipalName":"alice@example.com","ipAddress":"203.0.113.9"}},"targetResources":[{"type":"User","userPrincipalName":"mallory@example.com","modifiedProperties":[{"displayName":"Role.DisplayName","oldValue":null,"newValue":"\"Global Administrator\""},{"displayName":"Role.ObjectID","newValue":"\"1\""}]}]}}"#,
    ),
    (
        Format::EntraId,
        r#"{"time":"2026-06-03T12:59:31.342Z","resourceId":"/SUBSCRIPTIONS/0B1F6471-1BF0-4DDA-AEC3-CB9272F09590/RESOURCEGROUPS/SHOP/PROVIDERS/MICROSOFT.COMPUTE/VIRTUALMACHINES/WEB01","operationName":"MICROSOFT.COMPUTE/VIRTUALMACHINES/RUNCOMMAND/ACTION","category":"Administrative","resultType":"Success","resultSignature":"Accepted.Accepted","callerIpAddress":"203.0.113.9","correlationId":"c1","identity":{"authorization":{"evidence":{"role":"Owner"}},"claims":{"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn":"alice@example.com"}},"level":"Information","properties":{"statusCode":"Accepted"}}"#,
    ),
    (
        Format::Microsoft365,
        r#"{"CreationTime":"2026-06-03T12:59:31","Id":"m1","Operation":"UserLoginFailed","OrganizationId":"o1","RecordType":15,"ResultStatus":"Failed","UserKey":"k1","UserType":0,"Version":1,"Workload":"AzureActiveDirectory","ClientIP":"203.0.113.9","ObjectId":"00000002-0000-0ff1-ce00-000000000000","UserId":"alice@example.com","ExtendedProperties":[{"Name":"UserAgent","Value":"curl/8.5"},{"Name":"RequestType","Value":"OAuth2:Token"}],"ModifiedProperties":[],"Target":[{"ID":"00000002-0000-0ff1-ce00-000000000000","Type":0}],"LogonError":"InvalidUserNameOrPassword"}"#,
    ),
    (
        Format::GuardDuty,
        r#"{"schemaVersion":"2.0","accountId":"123456789012","region":"eu-central-1","partition":"aws","id":"f1","arn":"arn:aws:guardduty:eu-central-1:123456789012:detector/d1/finding/f1","type":"CredentialAccess:EC2/InventedBruteForce","resource":{"resourceType":"Instance","instanceDetails":{"instanceId":"i-0123456789","networkInterfaces":[{"privateIpAddress":"10.0.2.11","publicIp":"198.51.100.20"}],"tags":[{"key":"team","value":"shop"},{"key":"Name","value":"bastion01"}]}},"service":{"serviceName":"guardduty","detectorId":"d1","action":{"actionType":"NETWORK_CONNECTION","networkConnectionAction":{"connectionDirection":"INBOUND","remoteIpDetails":{"ipAddressV4":"203.0.113.9","country":{"countryName":"Norway"}},"remotePortDetails":{"port":51234,"portName":"Unknown"},"localPortDetails":{"port":22,"portName":"SSH"},"protocol":"TCP","blocked":false}},"resourceRole":"TARGET","eventFirstSeen":"2026-06-03T12:50:00Z","eventLastSeen":"2026-06-03T12:59:31Z","archived":false,"count":7},"severity":5.3,"createdAt":"2026-06-03T13:00:00Z","updatedAt":"2026-06-03T13:00:00Z","title":"SSH passwords are tried on bastion01.","description":"x"}"#,
    ),
    (
        Format::GuardDuty,
        r#"{"SchemaVersion":"2018-10-08","Id":"h1","ProductArn":"arn:aws:securityhub:eu-central-1::product/example/edr","ProductName":"Invented EDR","GeneratorId":"rule-7","AwsAccountId":"123456789012","Region":"eu-central-1","Types":["TTPs/Command and Control/Beacon"],"CreatedAt":"2026-06-03T13:00:00Z","UpdatedAt":"2026-06-03T13:00:00Z","LastObservedAt":"2026-06-03T12:59:31Z","Severity":{"Label":"HIGH"},"Title":"Beacon to a known server","Description":"x","Network":{"Direction":"OUT","Protocol":"TCP","SourceIpV4":"10.0.2.13","SourcePort":45000,"DestinationIpV4":"198.51.100.77","DestinationPort":443},"Process":{"Path":"/tmp/u"},"Resources":[{"Type":"AwsEc2Instance","Id":"arn:aws:ec2:eu-central-1:123456789012:instance/i-0123456789","Tags":{"Name":"web01"}}],"RecordState":"ACTIVE"}"#,
    ),
    (
        Format::Github,
        r#"{"@timestamp":1780491571342,"_document_id":"g1","action":"repo.add_member","actor":"alice","actor_id":7,"actor_ip":"203.0.113.9","actor_location":{"country_code":"NO"},"business":"example","created_at":1780491571342,"operation_type":"create","org":"example","permission":"admin","repo":"example/shop","user":"mallory","user_agent":"curl/8.5","visibility":"private"}"#,
    ),
    (
        Format::GoogleWorkspace,
        r#"{"kind":"admin#reports#activity","id":{"time":"2026-06-03T12:59:31Z","applicationName":"login"},"actor":{"email":"alice@example.com"},"ipAddress":"203.0.113.9","events":[{"type":"login","name":"login_failure","parameters":[{"name":"login_type","value":"google_password"}]}]}"#,
    ),
    (
        Format::Detections,
        r#"{"metadata":{"eventType":"DetectionSummaryEvent","eventCreationTime":1780491571342},"event":{"ComputerName":"pc7","UserName":"alice","DetectName":"Suspicious Activity","DetectDescription":"A process deleted backups.","SeverityName":"High","FileName":"x.exe","CommandLine":"x.exe -a","LocalIP":"10.0.2.11","Tactic":"Impact","Technique":"T1490"}}"#,
    ),
    (
        Format::Detections,
        r#"{"caid":"c1","input":{"eventType":"GPProcessEvent","host":{"hostname":"mac07","ips":["10.0.3.17"]},"match":{"uuid":"u1","severity":2,"facts":[{"name":"KeychainRead","human":"The keychain was read","tags":["T1555.001"]}],"event":{"timestamp":1780491571.342,"user":"alice","process":{"path":"/usr/bin/security","args":["security","dump-keychain"]}}}},"timestamp":"2026-06-03T12:59:32Z"}"#,
    ),
    (
        Format::Osquery,
        r#"{"name":"pack_x_open_sockets","hostIdentifier":"web01","calendarTime":"Wed Jun  3 12:59:31 2026 UTC","unixTime":1780491571,"epoch":0,"counter":7,"columns":{"pid":"7","path":"/tmp/x","username":"bob","local_address":"10.0.2.13","local_port":"51234","remote_address":"198.51.100.77","remote_port":"4444","protocol":"6"},"action":"added"}"#,
    ),
    (
        Format::Cef,
        r#"{"TimeGenerated":"2026-06-03T12:59:31.342Z","Type":"CommonSecurityLog","DeviceVendor":"Palo Alto Networks","DeviceProduct":"PAN-OS","DeviceName":"fw01","DeviceEventClassID":"end","Activity":"TRAFFIC","LogSeverity":"1","DeviceAction":"allow","SourceIP":"203.0.113.9","SourcePort":51234,"DestinationIP":"10.0.2.14","DestinationPort":443,"Protocol":"tcp","AdditionalExtensions":"cat=x","Message":"end tcp-fin"}"#,
    ),
    (
        Format::AuditEvents,
        r#"{"action":"user_login","actor":{"user":{"email":"alice@example.com","name":"Alice"}},"context":{"ip_address":"203.0.113.9","ua":"curl/8.5"},"date_create":1780491571,"entity":{"name":"example"},"id":"s1"}"#,
    ),
    (
        Format::KubernetesAudit,
        r#"{"auditID":"7d1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/secrets","verb":"list","user":{"username":"bob"},"sourceIPs":["203.0.113.9"],"userAgent":"kubectl/v1.30.1","objectRef":{"resource":"secrets","namespace":"shop"},"responseStatus":{"code":403}}"#,
    ),
    (
        Format::EntraId,
        r#"{"id":"s1","createdDateTime":"2026-06-03T12:59:31Z","userPrincipalName":"alice@example.com","appDisplayName":"Azure Portal","ipAddress":"203.0.113.9","isInteractive":true,"status":{"errorCode":50126,"failureReason":"Reason."},"location":{"countryOrRegion":"NL"}}"#,
    ),
    (
        Format::EntraId,
        r#"{"id":"r1","requestId":"q1","riskEventType":"passwordSpray","riskLevel":"high","riskState":"atRisk","riskDetail":"none","source":"IdentityProtection","activity":"signin","ipAddress":"203.0.113.9","activityDateTime":"2026-06-03T12:59:31.342Z","detectedDateTime":"2026-06-03T13:01:00Z","userDisplayName":"Alice","userPrincipalName":"alice@example.com","location":{"countryOrRegion":"NL"}}"#,
    ),
    (
        Format::EntraId,
        r#"{"id":"u1","isDeleted":false,"isProcessing":false,"riskLevel":"high","riskState":"atRisk","riskDetail":"none","riskLastUpdatedDateTime":"2026-06-03T12:59:31.342Z","userDisplayName":"Alice","userPrincipalName":"alice@example.com"}"#,
    ),
    (
        Format::Detections,
        r#"{"composite_id":"c7:ind:a7:1-2-3","created_timestamp":"2026-06-03T13:01:00.1Z","timestamp":"2026-06-03T12:59:31.342Z","display_name":"ShadowCopyRemoval","name":"ShadowCopyRemovalCmd","description":"A process removed shadow copies.","severity":70,"severity_name":"High","status":"new","product":"epp","scenario":"ransomware","tactic":"Impact","tactic_id":"TA0040","technique":"Inhibit System Recovery","technique_id":"T1490","pattern_disposition_description":"Prevention, process killed.","filename":"x.exe","filepath":"\\Device\\HarddiskVolume3\\x.exe","cmdline":"x.exe -a","parent_details":{"filename":"cmd.exe"},"user_name":"alice","device":{"hostname":"pc7","local_ip":"10.0.3.20"}}"#,
    ),
    (
        Format::Detections,
        r#"{"id":"7","agentDetectionInfo":{"agentIpV4":"10.0.3.20,192.168.7.1","agentLastLoggedInUserName":"bob","siteName":"Shop"},"agentRealtimeInfo":{"agentComputerName":"pc7","agentMitigationMode":"protect"},"indicators":[{"category":"Evasion","description":"x","tactics":[{"name":"Execution","source":"MITRE","techniques":[{"name":"T1204","link":"x"}]}]}],"threatInfo":{"threatName":"x.exe","classification":"Trojan","confidenceLevel":"malicious","mitigationStatus":"not_mitigated","analystVerdict":"undefined","createdAt":"2026-06-03T13:01:00Z","identifiedAt":"2026-06-03T12:59:31.342Z","detectionEngines":[{"key":"executables","title":"Behavioral AI"}],"filePath":"\\Device\\x.exe","originatorProcess":"cmd.exe","processUser":"CORP\\alice"}}"#,
    ),
    (
        Format::Detections,
        r#"{"agentDetectionInfo":{"name":"pc7","osName":"Windows","version":"23.4"},"alertInfo":{"alertId":"7","createdAt":"2026-06-03T12:59:31.342Z","eventType":"PROCESSCREATION","analystVerdict":"Undefined","source":"STAR"},"ruleInfo":{"name":"Shadow copies removed","severity":"Critical","description":""},"sourceProcessInfo":{"name":"x.exe","commandline":"x.exe -a","user":"CORP\\alice"},"sourceParentProcessInfo":{"name":"cmd.exe","commandline":""}}"#,
    ),
    (
        Format::AuditEvents,
        r#"{"activityType":27,"createdAt":"2026-06-03T12:59:31.342Z","id":"7","primaryDescription":"The management user Alice Example logged in to the management console with IP Address 203.0.113.9.","secondaryDescription":null,"data":{"username":"Alice Example","ipAddress":"203.0.113.9","role":"Admin"}}"#,
    ),
    (
        Format::Detections,
        r#"{"id":"da7_1","incidentId":7,"severity":"High","status":"New","classification":null,"investigationState":"Running","detectionSource":"WindowsDefenderAtp","category":"CredentialAccess","threatFamilyName":null,"title":"Memory of a sensitive process was read","alertCreationTime":"2026-06-03T13:01:00.1234567Z","firstEventTime":"2026-06-03T12:59:31.342Z","computerDnsName":"pc7.corp.example","mitreTechniques":["T1003.001"],"relatedUser":{"userName":"alice","domainName":"CORP"},"evidence":[{"entityType":"Process","fileName":"x.exe","processCommandLine":"x.exe -a","parentProcessFileName":"cmd.exe"},{"entityType":"File","fileName":"x.exe","filePath":"C:\\Temp"},{"entityType":"Ip","ipAddress":"203.0.113.9"}]}"#,
    ),
    (
        Format::Detections,
        r#"{"id":7,"description":"Multiple Login Failures","offense_type":0,"offense_source":"203.0.113.9","magnitude":7,"severity":8,"start_time":1780491571342,"categories":["User Login Failure"],"source_network":"other","event_count":15,"rules":[{"id":100205,"type":"CRE_RULE"}],"status":"OPEN","log_sources":[{"type_name":"LinuxServer","name":"LinuxServer @ bastion01","id":64}]}"#,
    ),
    (
        Format::Detections,
        r#"{"org_key":"ABC","alert_url":"https://x","id":"a1","type":"WATCHLIST","detection_timestamp":"2026-06-03T12:59:31.342Z","severity":5,"reason":"Process was detected by a report","sensor_action":"ALLOW","device_name":"CORP\\pc7","device_username":"alice","device_internal_ip":"10.0.3.18","report_name":"Encoded commands","process_cmdline":"powershell.exe -enc x","netconn_remote_ip":"203.0.113.66","ttps":["MITRE_T1059_001_POWERSHELL"]}"#,
    ),
    (
        Format::ProductEvents,
        r#"{"type":"endpoint.event.netconn","process_path":"c:\\x.exe","device_name":"CORP\\pc7","device_timestamp":"2026-06-03 12:59:31.342 +0000 UTC","remote_ip":"203.0.113.66","remote_port":443,"local_ip":"10.0.3.18","local_port":51234,"netconn_domain":"c2.example.net","netconn_inbound":false,"netconn_protocol":"PROTO_TCP","sensor_action":"ACTION_ALLOW"}"#,
    ),
    (
        Format::Detections,
        r#"{"created_at":"2026-06-03T12:59:41.342Z","when":"2026-06-03T12:59:31.342Z","location":"pc7","id":"i","severity":"high","threat":"ML/PE-A","type":"Event::Endpoint::Threat::Detected","description":"Manual cleanup required: 'ML/PE-A' at 'C:\\x.exe'","data":{"source_info":{"ip":"10.0.3.18"}},"source":"alice"}"#,
    ),
    (
        Format::Detections,
        r#"{"id":"WB-1-20260603-00001","status":"Open","workbenchLink":"https://x","model":"Possible Credential Dumping","score":63,"severity":"high","createdDateTime":"2026-06-03T12:59:31Z","impactScope":{"entities":[{"entityType":"host","entityValue":{"name":"pc7","ips":["10.0.3.18"]}},{"entityType":"account","entityValue":"corp\\alice"}]},"description":"x","matchedRules":[{"name":"Dump","matchedFilters":[{"name":"Dump by registry","mitreTechniqueIds":["T1003.002"]}]}],"indicators":[{"type":"ip","value":"203.0.113.66"}]}"#,
    ),
    (
        Format::Firewall,
        r#"{"LogTimestamp":"Wed Jun  3 12:59:31 2026","ConnectionID":"c","InternalReason":"","ConnectionStatus":"close","IPProtocol":6,"Username":"alice@example.com","ClientPublicIP":"203.0.113.9","Policy":"Admins","ConnectorIP":"10.0.2.5","Host":"bastion01.corp.example","Application":"SSH","ServerIP":"10.0.2.11","ServerPort":22}"#,
    ),
];

/// What other formats begin with, as an attacker may put it into a name, a URL or a user agent.
const MARKS: [&str; 9] = [
    "[pri=1 cls=x] {TCP} 10.0.3.20:1 -> 10.0.3.21:445 x",
    "[**] [1:1:1] x [**] [Priority: 1] {TCP} 10.0.3.20:1 -> 10.0.3.21:445",
    r#"{"event_type":"alert","alert":{"severity":1,"signature":"x"},"src_ip":"10.0.3.20","dest_ip":"10.0.3.21"}"#,
    "\n{\"kibana.alert.rule.name\":\"x\",\"kibana.alert.severity\":\"critical\"}\n",
    "CEF:0|a|b|1|1|x|10|src=10.0.3.20 dst=10.0.3.21",
    "TgtUser: x ¦ SrcIP: 10.0.3.20",
    "x\tSource Network Address:\t10.0.3.20\r\nSource Network Address:\t10.0.3.20",
    "attack.t1110 TA0040",
    "\u{202e}\u{1b}]0;x\u{7}",
];

#[test]
fn every_sample_is_recognised_by_its_own_format_alone() {
    for (format, text) in SAMPLES {
        assert_eq!(record(text).format, format, "{text}");
    }
}

#[test]
fn objects_of_no_format_are_recognised_by_none() {
    for text in [
        r#"{}"#,
        r#"{"level":"info","ts":1780491571.3,"msg":"started","caller":"main.go"}"#,
        r#"{"timestamp":"2026-06-03T12:59:31Z","level":"error","message":"event_type rule kibana.alert"}"#,
        r#"{"@timestamp":"2026-06-03T12:59:31Z","log.level":"INFO","message":"x","service.name":"shop"}"#,
        r#"{"event_type":"login","user":"x"}"#,
        r#"{"log":"x\n","stream":"stdout","time":"2026-06-03T12:59:31Z"}"#,
        r#"{"name":"x","version":"1.0.0","level":"high"}"#,
        r#"{"priority":"1","rule":"x"}"#,
        r#"{"EventID":1}"#,
        r#"{"time":"2026-06-03T12:59:31Z","category":"x","operationName":"GET /","resourceId":"7"}"#,
        r#"{"action":"cart.add","actor":"alice","created_at":"2026-06-03T12:59:31Z"}"#,
        r#"{"eventType":"click","published":"2026-06-03T12:59:31Z","actor":"alice"}"#,
        r#"{"protoPayload":{"@type":"type.googleapis.com/google.appengine.logging.v1.RequestLog"}}"#,
        r#"{"Records":[]}"#,
        r#"{"action":"cart.add","actor":"alice","created_at":"2026-06-03T12:59:31Z","ip":"unknown"}"#,
        r#"{"ip":"203.0.113.9","user":"alice","time":"2026-06-03T12:59:31Z","message":"x"}"#,
    ] {
        let object: Object = serde_json::from_str(text).unwrap();
        for format in &OBJECT_FORMATS {
            assert!(!(format.recognises)(&object), "{:?} takes {text}", format.format);
        }
    }
}

/// The records of a case of the shared folder of evidence, one object a line or in one list; nothing where it is absent.
fn case(name: &str) -> Option<Vec<Record>> {
    let data = std::env::var_os("COUNTERMOVE_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = data.join("../cases/evidence").join(name).join("alerts.log");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("{} cannot be read: this case is not tested", path.display());
        return None;
    };
    let objects = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).flat_map(|value| {
        let list = value.get("Records").unwrap_or(&value);
        list.as_array().cloned().unwrap_or_else(|| vec![list.clone()])
    });
    Some(objects.map(|object| record(&object.to_string())).collect())
}

fn ends(record: &Record) -> String {
    let shown = |end: &Option<Endpoint>| end.as_ref().map_or_else(|| "?".to_owned(), Endpoint::to_string);
    format!("{} -> {}", shown(&record.source), shown(&record.destination))
}

#[test]
fn alerts_of_the_shared_cases_are_read_as_their_notes_say() {
    if let Some(alerts) = case("ecs-kibana-alerts") {
        assert_eq!(
            alerts.iter().map(|alert| alert.priority).collect::<Vec<_>>(),
            [Some(1), Some(1), Some(3)]
        );
        assert_eq!(ends(&alerts[0]), "203.0.113.9:51234 -> 10.0.2.11:22");
        assert_eq!(alerts[1].tactics, [crate::Tactic::LateralMovement]);
        assert_eq!(alerts[1].techniques, ["T1021"]);
    }
    if let Some(alerts) = case("wazuh-alerts-json") {
        let priorities: Vec<_> = alerts.iter().filter_map(|alert| alert.priority).collect();
        assert_eq!(priorities, [3, 3, 3, 2, 1, 4]);
        assert!(alerts.iter().take(5).all(|alert| ends(alert).starts_with("203.0.113.9:")));
        assert!(alerts.iter().take(5).all(|alert| ends(alert).ends_with("-> 10.0.2.11")));
        assert_eq!(alerts[0].time.unwrap().to_string(), "2026-06-03T12:59:31.342000");
    }
    if let Some(alerts) = case("zeek-notice-json") {
        let read: Vec<_> = alerts.iter().map(ends).collect();
        assert_eq!(read, ["203.0.113.9 -> 10.0.2.11", "203.0.113.9 -> ?", "10.0.2.11 -> 10.0.2.20:22"]);
        assert!(alerts[1].message.starts_with("SSH::Password_Guessing: 203.0.113.9 appears"));
        assert!(alerts.iter().all(|alert| alert.kind == RecordKind::Alert && alert.priority.is_none()));
    }
    if let Some(alerts) = case("eve-xff-load-balancer") {
        assert!(alerts.iter().all(|alert| ends(alert) == "203.0.113.9 -> 10.0.2.13:80"));
        assert!(alerts.iter().all(|alert| alert.detail.contains("via 10.0.2.5")));
    }
    if let Some(alerts) = case("eve-response-direction") {
        assert!(alerts.iter().all(|alert| ends(alert).starts_with("10.0.3.17:")), "{alerts:?}");
        assert!(alerts.iter().all(|alert| ends(alert).ends_with("-> 10.0.2.14:80")));
    }
    if let Some(records) = case("eve-mitre-metadata") {
        let alerts: Vec<_> = records.iter().filter(|record| record.kind == RecordKind::Alert).collect();
        assert_eq!(alerts.len(), 4);
        assert!(
            alerts
                .iter()
                .any(|alert| alert.tactics == [crate::Tactic::Impact] && alert.techniques == ["T1496"])
        );
    }
    if let Some(alerts) = case("eve-drop-event") {
        assert_eq!((alerts[0].kind, alerts[0].priority), (RecordKind::Alert, Some(1)));
        assert!(alerts[0].detail.contains("blocked"));
    }
    if let Some(alerts) = case("suricata-no-classtype") {
        assert!(alerts.iter().all(|alert| alert.priority.is_none()));
    }
    for (name, asked) in
        [("eve-dns-alert-v2", "a1b2c3.c2.example.net"), ("works-eve-dns-alert-v3", "a1b2c3.c2.example.net")]
    {
        if let Some(alerts) = case(name) {
            assert_eq!(alerts[0].detail, format!("dns query {asked} TXT"));
        }
    }
    for (name, count) in [("snort3-alert-json", 7), ("snort3-alert-json-default", 5)] {
        if let Some(alerts) = case(name) {
            assert_eq!(alerts.len(), count);
            assert_eq!(ends(&alerts[0]), "203.0.113.9:51234 -> 10.0.2.11:22");
            assert_eq!((alerts[0].rule.as_str(), alerts[0].kind), ("1:9900030:2", RecordKind::Alert));
        }
    }
}

#[test]
fn logs_and_telemetry_of_the_shared_cases_are_no_alerts() {
    if let Some(calls) = case("cloudtrail-records") {
        assert_eq!(calls.len(), 4);
        assert!(calls.iter().all(|call| call.kind == RecordKind::Log && ends(call) == "203.0.113.9 -> ?"));
        assert_eq!(calls[0].time.unwrap().to_string(), "2026-06-03T12:59:31.000000");
        assert!(calls[2].message.starts_with("StopLogging "));
    }
    if let Some(events) = case("windows-events-mapped-ipv4") {
        assert_eq!(events.len(), 10);
        assert!(
            events.iter().all(|event| event.kind == RecordKind::Log && event.host == "DC01.corp.example")
        );
        assert!(events.iter().take(9).all(|event| event.account == "svc-backup"));
        assert!(events.iter().take(9).all(|event| ends(event).starts_with("10.0.3.17:")));
        assert!(events[9].message.starts_with("7045 Service installed on DC01.corp.example: "));
    }
    for name in ["eve-one-dns-query", "eve-telemetry-only-benign"] {
        if let Some(events) = case(name) {
            assert!(events.iter().all(|event| event.kind == RecordKind::Telemetry));
        }
    }
}

/// Every value in an object that is no object or list, by its place in the order of a walk.
fn leaves(value: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Object(object) => object.values_mut().for_each(|value| leaves(value, visit)),
        Value::Array(items) => items.iter_mut().for_each(|value| leaves(value, visit)),
        leaf => visit(leaf),
    }
}

pub(super) fn replaced(text: &str, place: usize, new: &Value) -> Option<Object> {
    let mut value: Value = serde_json::from_str(text).unwrap();
    let mut count = 0;
    leaves(&mut value, &mut |_| count += 1);
    let (place, mut at) = (place % count, 0);
    leaves(&mut value, &mut |leaf| {
        if at == place {
            *leaf = new.clone();
        }
        at += 1;
    });
    value.as_object().cloned()
}

pub(super) fn is_bounded(record: &Record) -> bool {
    let texts = [
        &record.sensor,
        &record.host,
        &record.message,
        &record.detail,
        &record.rule,
        &record.classification,
        &record.protocol,
        &record.account,
        &record.process,
        &record.file,
        &record.raw,
    ];
    let ends = [&record.source, &record.destination];
    texts.iter().all(|text| text.len() <= MAX_RAW && crate::printable(text) == text.as_str())
        && record.techniques.len() <= 16
        && record.tactics.len() <= 15
        && record.via.len() <= MAX_VIA
        && record.via.iter().all(|via| via.len() <= MAX_NAME && crate::printable(via) == via.as_str())
        && ends.iter().all(|end| {
            end.as_ref().is_none_or(|end| {
                end.address.len() <= MAX_NAME && crate::printable(&end.address) == end.address.as_str()
            })
        })
        && record.priority.is_none_or(|priority| (1..=4).contains(&priority))
}

pub(super) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-9a-f.:/, ]{0,40}".prop_map(Value::from),
        Just(Value::from("é".repeat(5_000))),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z.#_A-Z]{0,12}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_in_any_field_is_survived(
        sample in 0..SAMPLES.len(), places in prop::collection::vec((any::<usize>(), any_value()), 1..4),
    ) {
        let (_, text) = SAMPLES[sample];
        let mut text = text.to_owned();
        for (place, value) in &places {
            if let Some(object) = replaced(&text, *place, value) {
                text = Value::Object(object).to_string();
            }
        }
        let object: Object = serde_json::from_str(&text).unwrap();
        for format in &OBJECT_FORMATS {
            // Also a format that does not recognise it must survive it.
            if let Some(record) = (format.read)(&object, &Envelope::default()) {
                prop_assert!(is_bounded(&record), "{record:?}");
            }
        }
    }

    #[test]
    fn marks_of_other_formats_in_a_field_stay_text(
        sample in 0..SAMPLES.len(), place in any::<usize>(), mark in 0..MARKS.len(),
    ) {
        let (format, text) = SAMPLES[sample];
        let before = record(text);
        let object = replaced(text, place, &Value::from(MARKS[mark])).unwrap();
        // What is no more of its form may still be an event that Splunk keeps.
        let others = OBJECT_FORMATS.iter().filter(|other| ![format, Format::OtherJson].contains(&other.format));
        for other in others {
            prop_assert!(!(other.recognises)(&object), "{:?}", other.format);
        }
        let own = OBJECT_FORMATS.iter().filter(|own| own.format == format);
        let own = own.clone().find(|own| (own.recognises)(&object)).or_else(|| own.clone().next()).unwrap();
        if (own.recognises)(&object) && let Some(after) = (own.read)(&object, &Envelope::default()) {
            // What a sensor saw stays what it saw, and no address of the payload becomes an end.
            prop_assert!(before.kind == RecordKind::Alert || after.kind != RecordKind::Alert, "{after:?}");
            for end in [&after.source, &after.destination].into_iter().flatten() {
                prop_assert!(!end.address.starts_with("10.0.2.2") , "{after:?}");
            }
        }
    }
}
