//! Reads an alert log and shows its digest, with the time that it took: `read_log FILE [TOKENS]`.

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::time::Instant;

use countermove_incident::{AlertLog, Digest, Grounding};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: read_log FILE [TOKENS]")?;
    let budget = arguments.next().map_or(Ok(1000), |text| text.parse())?;
    let start = Instant::now();
    let log = AlertLog::read(BufReader::with_capacity(1 << 16, File::open(path)?))?;
    let read = start.elapsed();
    let digest = Digest::new(&log, budget);
    let digested = start.elapsed();
    let grounding = Grounding::new("", &log);
    let grounded = start.elapsed();
    println!("{}", digest.text());
    eprintln!("{:#?}", digest.report());
    eprintln!(
        "{} records kept, {} addresses; read in {read:.2?}, digested in {:.2?}, grounded in {:.2?}",
        log.records.len(),
        grounding.external_addresses().len(),
        digested - read,
        grounded - digested
    );
    Ok(())
}
