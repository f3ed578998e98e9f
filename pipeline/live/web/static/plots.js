// The two kinds of plots: EEG traces above one another, and one event's probability.
/* global uPlot */

const FONT = "12px system-ui, sans-serif";

export const theme = { trace: "#000", soft: "#555", line: "#ddd", text: "#000", back: "#fff" };
export function readTheme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of Object.keys(theme)) theme[name] = style.getPropertyValue(`--${name}`).trim();
}

function axis(more) {
  const lines = { stroke: () => theme.line, width: 1 };
  return { stroke: () => theme.soft, font: FONT, grid: lines, ticks: { ...lines, size: 4 }, ...more };
}

function seconds(plot, splits) {
  return splits.map(value => `${Math.round(10 * value) / 10} s`);
}

function shade(plot, runs, color, alpha) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.globalAlpha = alpha;
  ctx.fillStyle = color;
  for (const [begin, end] of runs) {
    const left = Math.max(plot.valToPos(begin, "x", true), bbox.left);
    const right = Math.min(plot.valToPos(end, "x", true), bbox.left + bbox.width);
    if (right > left) ctx.fillRect(left, bbox.top, right - left, bbox.height);
  }
  ctx.restore();
}

function markOnset(plot, time, color, dashed) {
  const { ctx, bbox } = plot, ratio = uPlot.pxRatio;
  const x = plot.valToPos(time, "x", true);
  if (x < bbox.left || x > bbox.left + bbox.width) return;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = color;
  ctx.lineWidth = 1.5 * ratio;
  ctx.setLineDash(dashed ? [4 * ratio, 3 * ratio] : []);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.beginPath();
  ctx.moveTo(x - 6 * ratio, bbox.top);
  ctx.lineTo(x + 6 * ratio, bbox.top);
  ctx.lineTo(x, bbox.top + 9 * ratio);
  ctx.fill();
  ctx.restore();
}

class Plot {
  constructor(place, height, options, data) {
    this.place = place;
    this.height = height;
    this.plot = new uPlot({
      width: Math.max(place.clientWidth, 100), height,
      legend: { show: false }, cursor: { show: false }, padding: [6, 14, 0, 0],
      ...options,
    }, data, place);
    this.observer = new ResizeObserver(() => {
      if (place.clientWidth) this.plot.setSize({ width: place.clientWidth, height });
    });
    this.observer.observe(place);
  }

  draw(data, from, to) {
    this.plot.batch(() => {
      this.plot.setData(data, false);
      this.plot.setScale("x", { min: from, max: to });
    });
  }

  destroy() {
    this.observer.disconnect();
    this.plot.destroy();
  }
}

export class EegPlot extends Plot {
  // Channel i of those shown is drawn around y = i, counted from the top.
  constructor(place, signal, shown, view) {
    const names = shown.map(channel => signal.hello.channels[channel]);
    const height = Math.max(300, Math.min(900, 34 * shown.length + 60));
    super(place, height, {
      scales: { x: { time: false, auto: false }, y: { auto: false, dir: -1, range: [-0.8, shown.length - 0.2] } },
      axes: [
        axis({ values: seconds, size: 26, space: 70 }),
        axis({ splits: () => names.map((_, i) => i), values: () => names, size: 46, grid: { show: false } }),
      ],
      series: [{}, ...names.map(() => ({ stroke: () => theme.trace, width: 1, points: { show: false } }))],
      hooks: {
        drawClear: [plot => signal.hello.events.forEach(({ color }, e) =>
          shade(plot, signal.trueRuns(e, plot.scales.x.min), color, 0.13))],
        draw: [plot => {
          for (const [time, e] of signal.onsets) markOnset(plot, time, signal.hello.events[e].color, true);
          scaleBar(plot, view.microvolts);
        }],
      },
    }, [[], ...names.map(() => [])]);
    this.signal = signal;
    this.shown = shown;
    this.view = view;
  }

  redraw(from, to) {
    const { microvolts } = this.view;
    const lanes = this.shown.map((channel, lane) =>
      this.signal.eeg[channel].map(value => value === null ? null : lane - value / microvolts));
    this.draw([this.signal.pairTimes, ...lanes], from, to);
  }
}

function scaleBar(plot, microvolts) {
  const { ctx, bbox } = plot, ratio = uPlot.pxRatio;
  const lane = Math.abs(plot.valToPos(1, "y", true) - plot.valToPos(0, "y", true));
  const x = bbox.left + bbox.width - 8 * ratio, bottom = bbox.top + bbox.height - 4 * ratio;
  const label = `${microvolts} µV`;
  ctx.save();
  ctx.font = `bold ${12 * ratio}px system-ui, sans-serif`;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  ctx.fillStyle = theme.back;
  ctx.globalAlpha = 0.85;
  const width = ctx.measureText(label).width;
  ctx.fillRect(x - width - 14 * ratio, bottom - lane - 2 * ratio, width + 20 * ratio, lane + 5 * ratio);
  ctx.globalAlpha = 1;
  ctx.fillStyle = theme.text;
  ctx.fillRect(x - ratio, bottom - lane, 2 * ratio, lane);
  ctx.fillRect(x - 4 * ratio, bottom - lane, 8 * ratio, 2 * ratio);
  ctx.fillRect(x - 4 * ratio, bottom - 2 * ratio, 8 * ratio, 2 * ratio);
  ctx.fillText(label, x - 8 * ratio, bottom - lane / 2);
  ctx.restore();
}

export class EventPlot extends Plot {
  constructor(place, signal, column, last) {
    const { color } = signal.hello.events[column];
    super(place, last ? 84 : 62, {
      scales: { x: { time: false, auto: false }, y: { auto: false, range: [0, 1.04] } },
      axes: [
        last ? axis({ values: seconds, size: 26, space: 70 }) : axis({ values: (_, splits) => splits.map(() => ""), size: 4, space: 70 }),
        axis({ splits: () => [0, 0.5, 1], values: () => ["0", "", "1"], size: 46 }),
      ],
      series: [{}, { stroke: color, width: 1.6, points: { show: false } }],
      hooks: {
        drawClear: [plot => shade(plot, signal.trueRuns(column, plot.scales.x.min), color, 0.25)],
        draw: [plot => {
          for (const [time, e] of signal.onsets) if (e === column) markOnset(plot, time, color, false);
        }],
      },
    }, [[], []]);
    this.signal = signal;
    this.column = column;
  }

  redraw(from, to) {
    this.draw([this.signal.binTimes, this.signal.probabilities[this.column]], from, to);
  }
}
