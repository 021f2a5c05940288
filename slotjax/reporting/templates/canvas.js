// Sheets of tiles, and canvases on which every pixel of theirs is a square.
const canvases = ([height, width]) => {
  const zoom = Math.max(1, Math.round(384 / width));
  const load = async (uri) => {
    const image = new Image();
    image.src = uri;
    await image.decode();
    return image;
  };
  const pixels = (image) => {
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  };
  // One tile of a sheet, as numbers 0..255.
  const tile = (sheet, row, column, h, w) => {
    const values = new Uint8Array(h * w);
    for (let y = 0; y < h; y++)
      for (let x = 0; x < w; x++) values[y * w + x] = sheet.data[4 * ((row * h + y) * sheet.width + column * w + x)];
    return values;
  };
  // A canvas of h x w pixels, painted by (position) -> [r, g, b, a].
  const paint = (h, w, colour) => {
    const canvas = new OffscreenCanvas(w, h), context = canvas.getContext("2d"), image = context.createImageData(w, h);
    for (let i = 0; i < h * w; i++) image.data.set(colour(i), 4 * i);
    context.putImageData(image, 0, 0);
    return canvas;
  };
  const clear = (canvas) => {
    canvas.width = width * zoom;
    canvas.height = height * zoom;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    return context;
  };
  const show = (canvas, ...layers) => {
    const context = clear(canvas);
    for (const layer of layers) context.drawImage(layer, 0, 0, canvas.width, canvas.height);
    return context;
  };
  // A tile of a sheet that is an image.
  const cut = (canvas, sheet, row, column) => {
    const context = clear(canvas);
    context.drawImage(sheet, column * width, row * height, width, height, 0, 0, canvas.width, canvas.height);
    return context;
  };
  // Hides a picture where weights 0..255 are low, and tints it where they are high, so that black shows too.
  const glow = (weights, h, w, colour) => paint(h, w, (i) => {
    const part = weights[i] / 255, tint = 0.38 * part, dim = 0.85 * (1 - part), alpha = tint + dim;
    return [0, 1, 2].map((c) => (tint * colour[c] + dim * 14) / alpha).concat(255 * alpha);
  });
  // The border of the pixels of which `owner` says that they are a slot's, on a canvas already drawn.
  const outline = (context, owner, slot, colour) => {
    const edges = new Path2D(), is = (x, y) => x >= 0 && y >= 0 && x < width && y < height && owner[y * width + x] === slot;
    const line = (x0, y0, x1, y1) => { edges.moveTo(x0 * zoom, y0 * zoom); edges.lineTo(x1 * zoom, y1 * zoom); };
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        if (!is(x, y)) continue;
        if (!is(x, y - 1)) line(x, y, x + 1, y);
        if (!is(x, y + 1)) line(x, y + 1, x + 1, y + 1);
        if (!is(x - 1, y)) line(x, y, x, y + 1);
        if (!is(x + 1, y)) line(x + 1, y, x + 1, y + 1);
      }
    for (const [ink, thickness] of [["#000", 6], [`rgb(${colour.join(" ")})`, 3]]) {
      context.strokeStyle = ink;
      context.lineWidth = thickness;
      context.stroke(edges);
    }
  };
  // The pixel under a pointer, as its position.
  const under = (event) => {
    const box = event.target.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * height);
    return Math.min(y, height - 1) * width + Math.min(x, width - 1);
  };
  return { load, pixels, tile, paint, show, cut, glow, outline, under };
};
