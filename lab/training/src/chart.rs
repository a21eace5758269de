//! The losses of a run as a picture.

use std::path::Path;

use countermove_chart::{Axes, Line, lines};
use serde_json::Value;

use crate::error::TrainError;
use crate::peft::replace;

/// Draws the losses in a run's log, of training and of validation, over the steps into an SVG file.
///
/// # Errors
/// [`TrainError::Io`] if the log cannot be read or the file not be written, [`TrainError::Data`] if the log has no step,
/// [`TrainError::Chart`] if it cannot be drawn.
pub fn chart(log: &Path, target: &Path) -> Result<(), TrainError> {
    let text = std::fs::read_to_string(log).map_err(TrainError::io(log))?;
    let [training, validation] = losses(&text);
    if training.is_empty() {
        let reason = "it has no step to draw".to_owned();
        return Err(TrainError::Data { path: log.to_path_buf(), reason });
    }
    let axes = Axes { title: "Loss of the answers' tokens", x: "step", y: "nats" };
    let line = |name: &str, points| Line { name: name.to_owned(), points };
    let drawn = lines(axes, &[line("training", training), line("validation", validation)])?;
    replace(target, drawn.as_bytes())
}

/// Step and loss, of training and of validation. A step that a killed run did twice counts once, as done last.
fn losses(log: &str) -> [Vec<(f64, f64)>; 2] {
    let mut found: [Vec<(f64, f64)>; 2] = Default::default();
    // A kill can cut the last line short.
    for event in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let place = match event["event"].as_str() {
            Some("step") => 0,
            Some("validation") => 1,
            _ => continue,
        };
        if let (Some(step), Some(loss)) = (event["step"].as_f64(), event["loss"].as_f64()) {
            found[place].retain(|known| known.0 < step);
            found[place].push((step, loss));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_becomes_lines_and_steps_done_twice_count_once() {
        let folder = tempfile::tempdir().unwrap();
        let (log, target) = (folder.path().join("log.jsonl"), folder.path().join("loss.svg"));
        let lines = [
            r#"{"event":"begins"}"#,
            r#"{"event":"step","step":1,"loss":4.0}"#,
            r#"{"event":"step","step":2,"loss":9.0}"#,
            r#"{"event":"step","step":2,"loss":2.0}"#,
            r#"{"event":"validation","step":2,"loss":3.0}"#,
            r#"{"event":"st"#,
        ];
        std::fs::write(&log, lines.join("\n")).unwrap();
        chart(&log, &target).unwrap();
        let svg = std::fs::read_to_string(&target).unwrap();
        assert_eq!(
            [">training<", ">validation<"].map(|name| svg.replace('\n', "").matches(name).count()),
            [1, 1]
        );
        let [training, validation] = losses(&lines.join("\n"));
        assert_eq!((training, validation), (vec![(1.0, 4.0), (2.0, 2.0)], vec![(2.0, 3.0)]));
        std::fs::write(&log, "").unwrap();
        assert!(chart(&log, &target).unwrap_err().to_string().contains("no step"));
    }
}
