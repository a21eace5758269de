//! The losses of a run as a picture.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::error::TrainError;
use crate::peft::replace;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// Room at the left and below for numbers, and above for the title.
const LEFT: f64 = 64.0;
const BELOW: f64 = 44.0;
const ABOVE: f64 = 40.0;
const RIGHT: f64 = 20.0;
/// Most points of a line.
const POINTS: usize = 400;

/// Draws the losses in a run's log, of training and of validation, over the steps into an SVG file.
///
/// # Errors
/// [`TrainError::Io`] if the log cannot be read or the file not be written, [`TrainError::Data`] if the log has no step.
pub fn chart(log: &Path, target: &Path) -> Result<(), TrainError> {
    let text = std::fs::read_to_string(log).map_err(TrainError::io(log))?;
    let [training, validation] = losses(&text);
    if training.is_empty() {
        let reason = "it has no step to draw".to_owned();
        return Err(TrainError::Data { path: log.to_path_buf(), reason });
    }
    replace(target, draw(&thinned(&training), &validation).as_bytes())
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

/// Means over neighbours, so that at most [`POINTS`] are left.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |points: &[(f64, f64)]| {
        let count = points.len() as f64;
        let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / count, sum.1 / count)
    };
    points.chunks(points.len().div_ceil(POINTS).max(1)).map(mean).collect()
}

fn draw(training: &[(f64, f64)], validation: &[(f64, f64)]) -> String {
    let all = || training.iter().chain(validation);
    let last = all().fold(1.0, |last: f64, point| last.max(point.0));
    let most = all().fold(1e-6, |most: f64, point| most.max(point.1));
    let top = ceiling(most);
    let x = |step: f64| LEFT + step / last * (WIDTH - LEFT - RIGHT);
    let y = |loss: f64| HEIGHT - BELOW - loss / top * (HEIGHT - BELOW - ABOVE);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\" fill=\"#1b1f24\">Loss of the answers' tokens, in nats</text>\n"
    );
    let mut put = |text: String| svg.push_str(&text);
    for tick in 0..=4 {
        let loss = top * f64::from(tick) / 4.0;
        let (at, right) = (y(loss), WIDTH - RIGHT);
        put(format!(
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#d8dee4\"/>\n"
        ));
        let (left, label) = (LEFT - 8.0, at + 4.0);
        put(format!(
            "<text x=\"{left}\" y=\"{label:.1}\" text-anchor=\"end\" fill=\"#57606a\">{loss:.2}</text>\n"
        ));
        let (step, below) = ((last * f64::from(tick) / 4.0).round(), HEIGHT - BELOW + 18.0);
        let at = x(step);
        put(format!(
            "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\" fill=\"#57606a\">{step}</text>\n"
        ));
    }
    let (middle, bottom) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0);
    put(format!("<text x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\" fill=\"#57606a\">step</text>\n"));
    for (place, (name, colour, points)) in
        [("training", "#8c959f", training), ("validation", "#0969da", validation)].into_iter().enumerate()
    {
        let mut line = String::new();
        for (step, loss) in points {
            // Writing to a text cannot fail.
            let _ = write!(line, "{:.1},{:.1} ", x(*step), y(*loss));
        }
        if line.is_empty() {
            continue;
        }
        let line = line.trim_end();
        put(format!(
            "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>\n"
        ));
        let at = WIDTH - RIGHT - 170.0 + 90.0 * place as f64;
        put(format!("<text x=\"{at}\" y=\"22\" fill=\"{colour}\">{name}</text>\n"));
    }
    svg + "</svg>\n"
}

/// The next number of the form 1, 2 or 5 times a power of ten.
fn ceiling(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|top| *top >= value).unwrap_or(value)
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
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(
            svg.contains(">5.00<") && !svg.contains(">10.00<"),
            "the step done twice is drawn as done last"
        );
        std::fs::write(&log, "").unwrap();
        assert!(chart(&log, &target).unwrap_err().to_string().contains("no step"));
    }

    #[test]
    fn long_runs_are_thinned_to_means() {
        let points: Vec<_> = (0..1000).map(|step| (f64::from(step), 1.0)).collect();
        let few = thinned(&points);
        assert!(few.len() <= POINTS && few.iter().all(|point| point.1 == 1.0));
    }

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!(
            [0.3, 1.0, 1.1, 4.9, 7.0].map(|value| (ceiling(value) * 10.0).round()),
            [5.0, 10.0, 20.0, 50.0, 100.0]
        );
    }
}
