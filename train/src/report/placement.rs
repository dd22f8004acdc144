//! Where labels go so that none covers another or a point.

/// A point of pixels: across, down.
pub type Pixel = (f64, f64);

/// A rectangle of pixels: left, top, right, bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rectangle {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Lower edge.
    pub bottom: f64,
}

impl Rectangle {
    /// A square around a point.
    pub fn around((x, y): Pixel, radius: f64) -> Self {
        Self { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn inside(&self, frame: &Self) -> bool {
        self.left >= frame.left
            && self.right <= frame.right
            && self.top >= frame.top
            && self.bottom <= frame.bottom
    }

    /// The nearest point of the rectangle.
    fn nearest(&self, (x, y): Pixel) -> Pixel {
        (x.clamp(self.left, self.right), y.clamp(self.top, self.bottom))
    }

    /// Whether a line crosses the rectangle (Liang and Barsky, 1984).
    fn is_crossed(&self, (x0, y0): Pixel, (x1, y1): Pixel) -> bool {
        let (mut enter, mut leave) = (0.0f64, 1.0f64);
        let sides = [
            (x0 - x1, x0 - self.left),
            (x1 - x0, self.right - x0),
            (y0 - y1, y0 - self.top),
            (y1 - y0, self.bottom - y0),
        ];
        for (slope, distance) in sides {
            if slope == 0.0 {
                if distance < 0.0 {
                    return false;
                }
            } else if slope < 0.0 {
                enter = enter.max(distance / slope);
            } else {
                leave = leave.min(distance / slope);
            }
        }
        enter < leave
    }
}

/// A label's place: its rectangle, and the end of the line that leads to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Where the text goes.
    pub text: Rectangle,
    /// The point of the rectangle nearest to what is labelled.
    pub end: Pixel,
}

/// Finds a place for a label of this size near one of `anchors`, inside `frame`, that covers none of
/// `taken`, and whose line crosses none of `labels` and no line of `leaders`. Nearer places are tried
/// first; `None` if there is none. Returns the anchor, too.
pub fn place(
    anchors: &[Pixel],
    (width, height): Pixel,
    frame: &Rectangle,
    taken: &[Rectangle],
    labels: &[Place],
    leaders: &[[Pixel; 2]],
) -> Option<(Pixel, Place)> {
    const DISTANCES: [f64; 13] =
        [9.0, 16.0, 24.0, 34.0, 46.0, 60.0, 76.0, 95.0, 118.0, 145.0, 175.0, 210.0, 250.0];
    const ANGLES: usize = 24;
    for distance in DISTANCES {
        for (turn, &anchor) in (0..ANGLES).flat_map(|turn| anchors.iter().map(move |anchor| (turn, anchor))) {
            // Right first, then alternately above and below.
            let steps = if turn % 2 == 0 { (turn / 2) as f64 } else { -(turn.div_ceil(2) as f64) };
            let angle = steps * std::f64::consts::TAU / ANGLES as f64;
            let (x, y) = (anchor.0 + distance * angle.cos(), anchor.1 + distance * angle.sin());
            let left = match angle.cos() {
                cosine if cosine > 0.3 => x,
                cosine if cosine < -0.3 => x - width,
                _ => x - width / 2.0,
            };
            let text =
                Rectangle { left, top: y - height / 2.0, right: left + width, bottom: y + height / 2.0 };
            let end = text.nearest(anchor);
            let free = text.inside(frame)
                && !taken.iter().any(|other| text.meets(other))
                && !labels.iter().any(|l| text.meets(&l.text) || l.text.is_crossed(anchor, end))
                && !leaders
                    .iter()
                    .any(|&[from, to]| text.is_crossed(from, to) || cross(anchor, end, from, to));
            if free {
                return Some((anchor, Place { text, end }));
            }
        }
    }
    None
}

/// Whether two lines cross.
fn cross(a: Pixel, b: Pixel, c: Pixel, d: Pixel) -> bool {
    let side = |p: Pixel, q: Pixel, r: Pixel| (q.0 - p.0) * (r.1 - p.1) - (q.1 - p.1) * (r.0 - p.0);
    side(a, b, c) * side(a, b, d) < 0.0 && side(c, d, a) * side(c, d, b) < 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_one_point_do_not_cover_each_other() {
        let frame = Rectangle { left: 0.0, top: 0.0, right: 400.0, bottom: 200.0 };
        let anchor = (200.0, 100.0);
        let taken = [Rectangle::around(anchor, 4.0)];
        let mut labels: Vec<Place> = Vec::new();
        for _ in 0..8 {
            let (_, found) = place(&[anchor], (80.0, 14.0), &frame, &taken, &labels, &[]).unwrap();
            assert!(found.text.inside(&frame) && !labels.iter().any(|l| l.text.meets(&found.text)));
            labels.push(found);
        }
        let narrow = Rectangle { right: 50.0, ..frame };
        assert_eq!(place(&[anchor], (80.0, 14.0), &narrow, &taken, &[], &[]), None);
    }

    #[test]
    fn crossings_are_seen() {
        let square = Rectangle { left: 1.0, top: 1.0, right: 2.0, bottom: 2.0 };
        assert!(square.is_crossed((0.0, 0.0), (3.0, 3.0)));
        assert!(!square.is_crossed((0.0, 0.0), (3.0, 0.5)));
        assert!(cross((0.0, 0.0), (2.0, 2.0), (0.0, 2.0), (2.0, 0.0)));
        assert!(!cross((0.0, 0.0), (2.0, 2.0), (3.0, 0.0), (3.0, 2.0)));
    }
}
