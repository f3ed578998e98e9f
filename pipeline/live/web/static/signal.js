// The newest seconds of the signal, in columns as uPlot wants them.

export class Signal {
  constructor(hello, seconds) {
    this.hello = hello;
    this.seconds = seconds; // how much is kept
    this.binTimes = []; // one per bin
    this.pairTimes = []; // two per bin: for its least and its greatest value
    this.eeg = hello.channels.map(() => []); // microvolts, in pairs
    this.probabilities = hello.events.map(() => []);
    this.labels = hello.events.map(() => []); // 0, 1, or null where not known
    this.onsets = []; // [time, column]
    this.delays = []; // [time, seconds]
  }

  get newest() {
    return this.binTimes.length ? this.binTimes[this.binTimes.length - 1] : 0;
  }

  add(frame) {
    for (let bin = 0; bin < frame.t.length; bin++) {
      const time = frame.t[bin];
      // An empty point breaks the lines where samples are missing.
      if (this.binTimes.length && time - this.newest > this.hello.gap) this.addBin(this.newest, null, bin);
      this.addBin(time, frame, bin);
    }
    this.onsets.push(...frame.onsets);
    if (frame.delay !== null) this.delays.push([this.newest, frame.delay]);
    this.trim();
  }

  addBin(time, frame, bin) {
    this.binTimes.push(time);
    this.pairTimes.push(time, time + (frame ? this.hello.bin / 2 : 0));
    this.eeg.forEach((values, c) => frame ? values.push(frame.eeg[c][2 * bin], frame.eeg[c][2 * bin + 1]) : values.push(null, null));
    this.probabilities.forEach((values, e) => values.push(frame ? frame.p[e][bin] : null));
    this.labels.forEach((values, e) => values.push(frame && frame.labels ? frame.labels[e][bin] : null));
  }

  // Forget what is too old; not at every frame, because that moves all that is kept.
  trim() {
    const oldest = this.newest - this.seconds;
    if (!this.binTimes.length || this.binTimes[0] > oldest - 2) return;
    const count = this.binTimes.findIndex(time => time >= oldest);
    this.binTimes.splice(0, count);
    this.pairTimes.splice(0, 2 * count);
    for (const values of this.eeg) values.splice(0, 2 * count);
    for (const values of [...this.probabilities, ...this.labels]) values.splice(0, count);
    this.onsets = this.onsets.filter(([time]) => time >= oldest);
    this.delays = this.delays.filter(([time]) => time >= oldest);
  }

  // The stretches in which an event is truly active, within the time shown.
  trueRuns(column, from) {
    const runs = [], labels = this.labels[column];
    for (let bin = labels.length - 1, end = null; bin >= 0; bin--) {
      const active = labels[bin] === 1 && this.binTimes[bin] >= from;
      if (active && end === null) end = this.binTimes[bin] + this.hello.bin;
      if (end !== null && (!active || bin === 0)) {
        runs.push([this.binTimes[active ? bin : bin + 1], end]);
        end = null;
      }
      if (this.binTimes[bin] < from) break;
    }
    return runs;
  }
}
