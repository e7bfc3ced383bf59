// Wheel, drag, pinch and keys on a canvas, told as movements.

/** Pixels of the screen that an arrow key moves by. */
const STEP = 60;

export function watchGestures(canvas, { drag, zoom, fit, point, isFitted }) {
  const pointers = new Map();
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  // Where nothing can be moved, a finger scrolls the page.
  const letScroll = () => canvas.style.setProperty("touch-action", isFitted() ? "pan-x pan-y" : "none");
  letScroll();

  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, place(event));
    canvas.setPointerCapture(event.pointerId);
    point(...place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = place(event);
    const before = pointers.get(event.pointerId);
    point(...now);
    if (!before) return;
    pointers.set(event.pointerId, now);
    if (pointers.size === 1) {
      drag(now[0] - before[0], now[1] - before[1]);
      return;
    }
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    const apart = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]);
    drag((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    if (apart(before) > 0) zoom(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    letScroll();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && point(null));
  // A pinch that begins where nothing can be moved must not zoom the page.
  canvas.addEventListener("touchstart", (event) => event.touches.length > 1 && event.preventDefault(), { passive: false });
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), ...place(event));
      letScroll();
    },
    { passive: false },
  );
  canvas.addEventListener("dblclick", (event) => {
    zoom(2, ...place(event));
    letScroll();
  });
  const keys = {
    "+": () => zoom(1.5),
    "=": () => zoom(1.5),
    "-": () => zoom(1 / 1.5),
    0: fit,
    ArrowLeft: () => drag(STEP, 0),
    ArrowRight: () => drag(-STEP, 0),
    ArrowUp: () => drag(0, STEP),
    ArrowDown: () => drag(0, -STEP),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
    letScroll();
    point(canvas.clientWidth / 2, canvas.clientHeight / 2);
  });
}
