//! Lines over time as SVG, without a library.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 150.0;
const ABOVE: f64 = 44.0;
const BELOW: f64 = 44.0;
const COLOURS: [&str; 5] = ["#1b6ca8", "#c9a227", "#7a9e7e", "#b56576", "#6d6875"];

/// A line: its name, and points of minutes and value.
pub struct Line {
    /// What stands beside it.
    pub name: String,
    /// Minutes and value, in order.
    pub points: Vec<(f64, f64)>,
}

/// A chart of values from zero over minutes. `unit` is that of the values.
pub fn chart(title: &str, unit: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let end = points().fold(1e-9, |end: f64, point| end.max(point.0));
    let top = ceiling(points().fold(1e-9, |top: f64, point| top.max(point.1)));
    let x = |minutes: f64| LEFT + minutes / end * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BELOW - value / top * (HEIGHT - BELOW - ABOVE);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"12\" y=\"24\" \
         font-size=\"15\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    );
    // Writing to a string cannot fail.
    for part in 0..=4 {
        let share = f64::from(part) / 4.0;
        let (value, minutes) = (top * share, end * share);
        let (height, right) = (y(value), WIDTH - RIGHT);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{height:.1}\" x2=\"{right}\" y2=\"{height:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.0}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{minutes:.0}</text>",
            LEFT - 6.0,
            height + 4.0,
            x(minutes),
            HEIGHT - BELOW + 18.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"12\" y=\"{}\">{}</text><text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">minutes</text>",
        ABOVE - 6.0,
        escape(unit),
        x(end / 2.0),
        HEIGHT - 8.0
    );
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let path: String = line
            .points
            .iter()
            .map(|(minutes, value)| format!("{:.1},{:.1} ", x(*minutes), y(*value)))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
             <text x=\"{}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
            path.trim_end(),
            WIDTH - RIGHT + 10.0,
            ABOVE + 14.0 + 18.0 * index as f64,
            escape(&line.name)
        );
    }
    out + "</svg>\n"
}

/// The next round number.
fn ceiling(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 5.0, 8.0, 10.0]
        .map(|times| times * power)
        .into_iter()
        .find(|round| *round >= value)
        .unwrap_or(value)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_drawn_within_the_picture() {
        let line = |name: &str, value: f64| Line {
            name: name.to_owned(),
            points: vec![(0.0, value), (30.0, value * 2.0)],
        };
        let svg = chart("a < b", "MiB", &[line("one", 17.0), line("two", 3.0)]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a &lt; b") && svg.contains(">40<"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("-nan"));
        assert!(chart("nothing", "MiB", &[]).ends_with("</svg>\n"));
    }
}
