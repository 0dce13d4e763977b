// Drawing with a mouse, finger or pen.

function pointOf(event, paper) {
  const bounds = paper.getBoundingClientRect();
  return { x: (event.clientX - bounds.left) / bounds.width, y: (event.clientY - bounds.top) / bounds.height };
}

/** Draws with pointers on the paper; of several fingers only the first one draws. */
export function attachPointerPen(paper, drawing) {
  let pointer = null;

  paper.addEventListener("pointerdown", (event) => {
    if (event.isPrimary && event.button === 0) {
      pointer = event.pointerId;
      paper.setPointerCapture(pointer);
      drawing.beginStroke(pointOf(event, paper));
    }
  });

  paper.addEventListener("pointermove", (event) => {
    if (event.pointerId === pointer) {
      // Browsers fire one event per frame; the coalesced points in between keep fast strokes round.
      const events = event.getCoalescedEvents?.() ?? [];
      drawing.extendStroke((events.length > 0 ? events : [event]).map((each) => pointOf(each, paper)));
    }
  });

  const lift = (event) => {
    if (event.pointerId === pointer) {
      pointer = null;
      drawing.endStroke();
    }
  };
  paper.addEventListener("pointerup", lift);
  paper.addEventListener("pointercancel", lift);
}
