//! Lines over a common axis.

use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::chart::SeriesLabelPosition;
use plotters::drawing::IntoDrawingArea;
use plotters::element::PathElement;
use plotters::series::LineSeries;
use plotters::style::{BLACK, Color, WHITE};

use crate::{DrawError, FONT, ceiling, colour, failed};

const SIZE: (u32, u32) = (760, 340);
/// Most points of a line; beyond, neighbours are averaged.
const POINTS: usize = 400;

/// What is drawn over what.
#[derive(Clone, Copy, Debug)]
pub struct Axes<'a> {
    /// What is shown.
    pub title: &'a str,
    /// The axis below, with its unit.
    pub x: &'a str,
    /// The axis of values, with its unit.
    pub y: &'a str,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it stands for.
    pub name: String,
    /// Its points, in order of the first coordinate.
    pub points: Vec<(f64, f64)>,
}

/// Draws lines. Those without points are left out.
///
/// # Errors
/// [`DrawError`] if the library fails.
pub fn lines(axes: Axes<'_>, lines: &[Line]) -> Result<String, DrawError> {
    let points =
        || lines.iter().flat_map(|line| &line.points).filter(|(x, y)| x.is_finite() && y.is_finite());
    let end = points().fold(0.0, |end: f64, point| end.max(point.0));
    let end = if end > 0.0 { end } else { 1.0 };
    let top = ceiling(points().fold(0.0, |top: f64, point| top.max(point.1)));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(axes.title, (FONT, 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..end, 0.0..top)
            .map_err(failed)?;
        let mesh_colour = BLACK.mix(0.12);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE.mix(0.0))
            .bold_line_style(mesh_colour)
            .x_desc(axes.x)
            .y_desc(axes.y)
            .label_style((FONT, 14))
            .x_labels(6)
            .y_labels(5)
            .x_label_formatter(&figure(end))
            .y_label_formatter(&figure(top))
            .draw()
            .map_err(failed)?;
        for (place, line) in lines.iter().filter(|line| !line.points.is_empty()).enumerate() {
            let style = colour(place).stroke_width(2);
            chart
                .draw_series(LineSeries::new(thinned(&line.points), style))
                .map_err(failed)?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font((FONT, 14))
            .background_style(WHITE.mix(0.8))
            .border_style(mesh_colour)
            .draw()
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Writes figures of an axis with as many digits as tell its marks apart.
fn figure(top: f64) -> impl Fn(&f64) -> String {
    let digits = if top >= 10.0 { 0 } else { (1.0 - top.log10().floor()).clamp(0.0, 6.0) as usize };
    move |value| format!("{value:.digits$}")
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

#[cfg(test)]
mod tests {
    use super::*;

    const AXES: Axes<'_> = Axes { title: "a < b", x: "minutes", y: "MiB" };

    fn line(name: &str, value: f64) -> Line {
        Line { name: name.to_owned(), points: vec![(0.0, value), (30.0, value * 2.0)] }
    }

    #[test]
    fn each_line_is_drawn_and_named() {
        let svg = lines(AXES, &[line("one & two", 17.0), line("three", 3.0)]).unwrap();
        assert!(svg.contains("a &lt; b") && svg.contains("one &amp; two") && svg.contains("three"), "{svg}");
        assert!(svg.contains("\n40\n") && !svg.contains("NaN"), "marks stand at round numbers");
        assert_eq!(svg, lines(AXES, &[line("one & two", 17.0), line("three", 3.0)]).unwrap());
    }

    #[test]
    fn nothing_and_what_is_no_number_are_drawn_as_well() {
        assert!(lines(AXES, &[]).unwrap().trim_end().ends_with("</svg>"));
        let odd = Line { name: "odd".to_owned(), points: vec![(f64::NAN, 1.0), (1.0, f64::INFINITY)] };
        assert!(lines(AXES, &[odd]).is_ok());
    }

    #[test]
    fn long_lines_are_thinned_to_means() {
        let points: Vec<_> = (0..1000).map(|step| (f64::from(step), 1.0)).collect();
        let few = thinned(&points);
        assert!(few.len() <= POINTS && few.iter().all(|point| point.1 == 1.0));
    }
}
