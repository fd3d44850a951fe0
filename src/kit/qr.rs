//! Codes for a camera, as SVG.

use std::fmt::Write;

use super::Markup;
use crate::base::{Error, Result};

/// Bytes of a text that a code may hold: more gives squares that are too small to print.
pub const QR_BYTES_MAX: usize = 400;
/// Squares of white around a code, so that a camera finds it (ISO/IEC 18004).
const QUIET: usize = 4;

/// The text as a QR code. A quarter of it may be dirty or torn. It is black on white in every theme, as cameras need it.
pub fn qr(text: &str) -> Result<Markup> {
    if text.len() > QR_BYTES_MAX {
        return Err(Error::invalid(format!("{} bytes in a code for a camera", text.len()))
            .hint(format!("at most {QR_BYTES_MAX}")));
    }
    let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::Q)
        .map_err(|e| Error::invalid("the text does not fit a code for a camera").because(e))?;
    let width = code.width();
    let mut path = String::new();
    for (row, line) in code.to_colors().chunks(width).enumerate() {
        let mut column = 0;
        for dark in line.chunk_by(|a, b| a == b) {
            if dark.first() == Some(&qrcode::Color::Dark) {
                // One stroke for a run of squares: a tenth of the text.
                let _ = write!(path, "M{} {}h{}v1h-{}z", column + QUIET, row + QUIET, dark.len(), dark.len());
            }
            column += dark.len();
        }
    }
    let side = width + 2 * QUIET;
    Ok(Markup(format!(
        "<svg class=\"qr\" viewBox=\"0 0 {side} {side}\" role=\"img\" aria-label=\"Code for a camera\" shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path fill=\"#000\" d=\"{path}\"/></svg>"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_drawn_by_attributes_and_bounded() {
        let code =
            qr("AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ").unwrap().0;
        assert!(code.starts_with("<svg") && !code.contains("style") && code.len() < 20_000, "{}", code.len());
        assert!(!code.contains("AGE"), "the text stands in the squares alone");
        assert!(qr(&"x".repeat(QR_BYTES_MAX)).is_ok());
        assert!(qr(&"x".repeat(QR_BYTES_MAX + 1)).unwrap_err().message().contains("401 bytes"));
    }
}
