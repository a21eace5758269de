//! Bars as SVG, without a library: rectangles and text are all it takes.

use std::fmt::Write;

/// A panel of bars that share an axis from zero.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What is shown.
    pub title: String,
    /// Over what.
    pub note: String,
    /// One bar each.
    pub series: Vec<Series>,
}

/// A bar.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it stands for.
    pub label: String,
    /// Its length; no bar if absent.
    pub value: Option<f64>,
    /// Half the length of its whisker.
    pub deviation: Option<f64>,
    /// The figure in words.
    pub text: String,
}

const WIDTH: f64 = 760.0;
const LABELS: f64 = 170.0;
const FIGURES: f64 = 130.0;
const BAR: f64 = 16.0;
const GAP: f64 = 6.0;
const HEAD: f64 = 42.0;
const COLOURS: [&str; 6] = ["#1b6ca8", "#8fb8d6", "#c9a227", "#7a9e7e", "#b56576", "#6d6875"];

/// Panels below each other.
pub fn draw(title: &str, panels: &[Bars]) -> String {
    let height: f64 = HEAD + panels.iter().map(panel_height).sum::<f64>();
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"12\" y=\"26\" \
         font-size=\"16\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    );
    let mut top = HEAD;
    for panel in panels {
        bars(&mut out, panel, top);
        top += panel_height(panel);
    }
    out.push_str("</svg>\n");
    out
}

fn panel_height(panel: &Bars) -> f64 {
    HEAD + panel.series.len() as f64 * (BAR + GAP)
}

fn bars(out: &mut String, panel: &Bars, top: f64) {
    let _ = writeln!(
        out,
        "<text x=\"12\" y=\"{}\" font-weight=\"bold\">{}</text><text x=\"{}\" y=\"{}\" fill=\"#666666\" \
         text-anchor=\"end\">{}</text>",
        top + 22.0,
        escape(&panel.title),
        WIDTH - 12.0,
        top + 22.0,
        escape(&panel.note)
    );
    let reach = |one: &Series| one.value.map_or(0.0, |value| value + one.deviation.unwrap_or(0.0));
    let longest = panel.series.iter().map(reach).fold(0.0, f64::max);
    let scale = if longest > 0.0 { (WIDTH - LABELS - FIGURES) / longest } else { 0.0 };
    for (place, (one, colour)) in panel.series.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let y = top + 32.0 + place as f64 * (BAR + GAP);
        let middle = y + BAR / 2.0;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LABELS - 8.0,
            middle + 4.0,
            escape(&one.label)
        );
        let mut end = LABELS;
        if let Some(value) = one.value {
            let length = (value * scale).max(0.0);
            end += length;
            let _ = writeln!(
                out,
                "<rect class=\"bar\" x=\"{LABELS}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>"
            );
            if let Some(deviation) = one.deviation.filter(|deviation| *deviation > 0.0) {
                let (low, high) = ((end - deviation * scale).max(LABELS), end + deviation * scale);
                let _ = writeln!(
                    out,
                    "<path d=\"M{low:.1} {middle}H{high:.1}M{low:.1} {a}V{b}M{high:.1} {a}V{b}\" stroke=\"#222222\" \
                     fill=\"none\"/>",
                    a = middle - 4.0,
                    b = middle + 4.0
                );
                end = high;
            }
        }
        let _ =
            writeln!(out, "<text x=\"{:.1}\" y=\"{}\">{}</text>", end + 6.0, middle + 4.0, escape(&one.text));
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_bars_stay_inside() {
        let one =
            |value, deviation| Series { label: "a & <b>".into(), value, deviation, text: String::new() };
        let panel = Bars {
            title: "x".into(),
            note: String::new(),
            series: vec![one(Some(3.0), Some(9.0)), one(None, None), one(Some(0.0), None)],
        };
        let chart = draw("\"t\"", &[panel]);
        assert!(chart.contains("a &amp; &lt;b&gt;") && chart.contains("&quot;t&quot;"));
        let width = format!("width=\"{:.1}\"", 3.0 * (WIDTH - LABELS - FIGURES) / 12.0);
        assert!(chart.contains(&width), "{chart}");
        assert_eq!(chart.matches("class=\"bar\"").count(), 2);
    }
}
