//! Bars with whiskers, in panels below each other.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{PathElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color, FontStyle, IntoFont, TextStyle, WHITE};

use crate::{DrawError, FONT, colour, failed};

/// Bars that share an axis from zero.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What is shown.
    pub title: String,
    /// Over what.
    pub note: String,
    /// Its bars, in order.
    pub bars: Vec<Bar>,
}

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it stands for.
    pub label: String,
    /// Its length; no bar if absent.
    pub value: Option<f64>,
    /// Half the length of its whisker.
    pub deviation: Option<f64>,
    /// The figure in words.
    pub text: String,
}

// In pixels.
const WIDTH: i32 = 760;
const LABELS: i32 = 170;
const FIGURES: i32 = 130;
const BAR: i32 = 16;
const GAP: i32 = 6;
const HEAD: i32 = 42;
const MARGIN: i32 = 12;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws panels below each other.
///
/// # Errors
/// [`DrawError`] if the library fails.
pub fn bars(title: &str, panels: &[Panel]) -> Result<String, DrawError> {
    let height = HEAD + panels.iter().map(Panel::height).sum::<i32>();
    let mut svg = String::new();
    {
        let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let bold = |size| text_style(size, FontStyle::Bold);
        write(&area, title, (MARGIN, HEAD / 2), &bold(18), HPos::Left)?;
        let mut top = HEAD;
        for panel in panels {
            write(&area, &panel.title, (MARGIN, top + 18), &bold(14), HPos::Left)?;
            panel.draw(&area, top)?;
            top += panel.height();
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

impl Panel {
    fn height(&self) -> i32 {
        // A panel of more bars than an `i32` holds pixels fits no picture.
        i32::try_from(self.bars.len()).unwrap_or(i32::MAX / 64).saturating_mul(BAR + GAP).saturating_add(HEAD)
    }

    fn draw(&self, area: &Area<'_>, top: i32) -> Result<(), DrawError> {
        let plain = text_style(14, FontStyle::Normal);
        write(area, &self.note, (WIDTH - MARGIN, top + 18), &plain, HPos::Right)?;
        let longest = self.bars.iter().map(Bar::reach).fold(0.0, f64::max);
        let scale = if longest > 0.0 { f64::from(WIDTH - LABELS - FIGURES) / longest } else { 0.0 };
        // Within the picture, since no bar is longer than the longest.
        let x = |value: f64| LABELS + (value.max(0.0) * scale).round() as i32;
        for (place, bar) in self.bars.iter().enumerate() {
            let y = top + HEAD - MARGIN + i32::try_from(place).unwrap_or(i32::MAX / 64) * (BAR + GAP);
            let middle = y + BAR / 2;
            write(area, &bar.label, (LABELS - 8, middle), &plain, HPos::Right)?;
            let mut end = LABELS;
            if let Some(value) = bar.value.filter(|value| value.is_finite()) {
                end = x(value);
                let corners = [(LABELS, y), (end, y + BAR)];
                area.draw(&Rectangle::new(corners, colour(place).filled())).map_err(failed)?;
                if let Some(deviation) = bar.deviation.filter(|deviation| *deviation > 0.0) {
                    let (low, high) = (x(value - deviation), x(value + deviation));
                    for whisker in [
                        [(low, middle), (high, middle)],
                        [(low, middle - 4), (low, middle + 4)],
                        [(high, middle - 4), (high, middle + 4)],
                    ] {
                        area.draw(&PathElement::new(whisker, BLACK)).map_err(failed)?;
                    }
                    end = high;
                }
            }
            write(area, &bar.text, (end + 6, middle), &plain, HPos::Left)?;
        }
        Ok(())
    }
}

impl Bar {
    fn reach(&self) -> f64 {
        let reach = self.value.unwrap_or(0.0) + self.deviation.unwrap_or(0.0);
        if reach.is_finite() { reach } else { 0.0 }
    }
}

fn text_style(size: i32, style: FontStyle) -> TextStyle<'static> {
    (FONT, size).into_font().style(style).color(&BLACK)
}

/// Writes a text in the middle of the line at `y`, which begins or ends at `x`.
fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    style: &TextStyle<'static>,
    side: HPos,
) -> Result<(), DrawError> {
    let style = style.clone().pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_bars_stay_inside() {
        let one = |value, deviation| Bar { label: "a & <b>".into(), value, deviation, text: "c".into() };
        let panel = Panel {
            title: "x".into(),
            note: String::new(),
            bars: vec![
                one(Some(3.0), Some(9.0)),
                one(None, None),
                one(Some(0.0), None),
                one(Some(f64::NAN), None),
            ],
        };
        let svg = bars("\"t\"", &[panel]).unwrap();
        assert!(svg.contains("a &amp; &lt;b&gt;"), "{svg}");
        let width = f64::from(WIDTH - LABELS - FIGURES) * 3.0 / 12.0;
        assert!(svg.contains(&format!("width=\"{}\" height=\"{BAR}\"", width.round())), "{svg}");
        assert_eq!(svg.matches(&format!("height=\"{BAR}\"")).count(), 2);
    }
}
