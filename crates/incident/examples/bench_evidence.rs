//! Times the reader on a file of mixed formats beside `jq -c .` on the same file: `bench_evidence [LINES] [FILE]`.
//!
//! Each line is JSON, as jq needs: events of Suricata, Wazuh, Zeek and CloudTrail, and lines of sshd and a web server as a
//! container runtime wraps them. The file is made first and taken away at the end.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use countermove_incident::{AlertLog, Digest};

const LINES: u64 = 200_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let lines = arguments.next().map_or(Ok(LINES), |text| text.parse())?;
    let path = arguments.next().map_or_else(
        || std::env::temp_dir().join(format!("evidence-{}.jsonl", std::process::id())),
        PathBuf::from,
    );
    let mut file = BufWriter::new(File::create(&path)?);
    (0..lines).try_for_each(|number| writeln!(file, "{}", line(number)))?;
    file.into_inner()?.sync_all()?;
    let bytes = std::fs::metadata(&path)?.len();

    let start = Instant::now();
    let log = AlertLog::read(File::open(&path)?)?;
    let ours = start.elapsed().as_secs_f64();
    let digest = Digest::new(&log, 1_000);
    let whole = start.elapsed().as_secs_f64();
    println!("{lines} lines, {:.1} MB", bytes as f64 / 1e6);
    let rate = |seconds: f64| {
        format!("{:.0} lines/s, {:.1} MB/s", lines as f64 / seconds, bytes as f64 / 1e6 / seconds)
    };
    println!(
        "countermove: {ours:.2} s, {} ({whole:.2} s with the digest), peak memory {}",
        rate(ours),
        peak()
    );
    println!(
        "  {} records kept as {}, {} repeated, {} in no known form, {} groups",
        log.total(),
        log.records.len(),
        log.reading.repeated,
        log.reading.unknown,
        digest.report().groups
    );
    let start = Instant::now();
    let jq = Command::new("jq").arg("-c").arg(".").arg(&path).stdout(Stdio::null()).status();
    match jq {
        Ok(status) if status.success() => {
            let theirs = start.elapsed().as_secs_f64();
            println!("jq -c .: {theirs:.2} s, {}", rate(theirs));
        }
        Ok(status) => println!("jq -c .: {status}"),
        Err(error) => println!("jq -c .: not run, {error}"),
    }
    std::fs::remove_file(&path)?;
    Ok(())
}

/// The most memory that the process has had so far, as Linux tells it.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
}

/// A line of one of the formats; all differ.
fn line(number: u64) -> String {
    let (second, micro) = (number / 1_000 % 86_400, number % 1_000 * 1_000 + number / 86_400_000);
    let clock = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
    let time = format!("2026-06-03T{clock}.{micro:06}");
    let (source, target) = (number * 7 % 250 + 1, number * 13 % 200 + 1);
    let port = 32_768 + number * 31 % 28_000;
    let kind = number % 40;
    match number % 8 {
        0 => format!(
            r#"{{"timestamp":"{time}+0000","flow_id":{number},"event_type":"alert","src_ip":"203.0.113.{source}","src_port":{port},"dest_ip":"10.0.2.{target}","dest_port":443,"proto":"TCP","alert":{{"action":"allowed","gid":1,"signature_id":{kind},"rev":2,"signature":"LOCAL rule number {kind}","category":"Misc activity","severity":3}},"app_proto":"tls"}}"#
        ),
        1 => format!(
            r#"{{"timestamp":"{time}+0000","flow_id":{number},"event_type":"flow","src_ip":"10.0.3.{source}","src_port":{port},"dest_ip":"198.51.100.{target}","dest_port":443,"proto":"TCP","flow":{{"pkts_toserver":12,"bytes_toserver":1800,"state":"closed","reason":"timeout"}}}}"#
        ),
        2 => format!(
            r#"{{"timestamp":"{time}+0000","flow_id":{number},"event_type":"dns","src_ip":"10.0.3.{source}","src_port":{port},"dest_ip":"10.0.2.53","dest_port":53,"proto":"UDP","dns":{{"type":"query","id":7,"rrname":"host{target}.example.net","rrtype":"A"}}}}"#
        ),
        3 => format!(
            r#"{{"timestamp":"{time}+0000","rule":{{"level":5,"description":"sshd: rule {kind}","id":"57{kind:02}","groups":["sshd"]}},"agent":{{"id":"004","name":"host{target}","ip":"10.0.2.{target}"}},"manager":{{"name":"mgr"}},"id":"{number}","data":{{"srcip":"203.0.113.{source}","srcport":"{port}"}},"location":"/var/log/auth.log"}}"#
        ),
        4 => format!(
            r#"{{"ts":{}.{micro:06},"uid":"C{number}","id.orig_h":"10.0.3.{source}","id.orig_p":{port},"id.resp_h":"198.51.100.{target}","id.resp_p":443,"proto":"tcp","service":"ssl","conn_state":"SF"}}"#,
            1_780_444_800 + second
        ),
        5 => format!(
            r#"{{"eventVersion":"1.08","userIdentity":{{"type":"IAMUser","userName":"user{kind}"}},"eventTime":"2026-06-03T{clock}Z","eventSource":"s3.amazonaws.com","eventName":"GetObject","awsRegion":"eu-central-1","sourceIPAddress":"203.0.113.{source}","eventID":"{number}","eventType":"AwsApiCall"}}"#
        ),
        6 => format!(
            r#"{{"log":"{time}+00:00 host{target} sshd[{kind}]: Failed password for root from 203.0.113.{source} port {port} ssh2\n","stream":"stdout","time":"{time}Z"}}"#
        ),
        _ => format!(
            r#"{{"log":"203.0.113.{source} - - [03/Jun/2026:{clock} +0000] \"GET /item/{number} HTTP/1.1\" 200 {kind} \"-\" \"curl/8.5\"\n","stream":"stdout","time":"{time}Z"}}"#
        ),
    }
}
