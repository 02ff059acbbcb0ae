// Showing JSON: coloured, folded when it is long, bounded, and as YAML.
import { h, button } from './dom.js';
import { bytes } from './words.js';

const foldLines = 24; // lines that are shown of more than 32
const mostShown = 256 << 10; // characters
const mostColoured = 64 << 10;

const token = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

// coloured is a text of JSON with its parts in spans.
function coloured(source) {
  if (source.length > mostColoured) return [source];
  const out = [];
  let at = 0;
  for (const m of source.matchAll(token)) {
    if (m.index > at) out.push(source.slice(at, m.index));
    const kind = m[2] !== undefined ? 'key' : m[1] ? 'text' : 'literal';
    out.push(h('span', { class: `json-${kind}` }, m[1] ?? m[0]));
    if (m[2] !== undefined) out.push(m[2]);
    at = m.index + m[0].length;
  }
  out.push(source.slice(at));
  return out;
}

// block shows a value as JSON. raw is where all of it can be read.
export function block(value, { raw, mark } = {}) {
  const isText = typeof value === 'string' && !mark;
  const source = isText ? value : JSON.stringify(value, null, 2) ?? '';
  const cut = source.slice(0, mostShown);
  const lines = cut.split('\n');
  const folded = lines.length > foldLines + 8 || cut.length > 6000;
  const pre = h('pre', { class: 'json', tabindex: '0' });
  const show = (all) => {
    const part = all ? cut : lines.slice(0, foldLines).join('\n').slice(0, 4000);
    if (mark) {
      pre.replaceChildren(...part.split('\n').map((line) => h('span', { class: mark(line) ? 'line changed' : 'line' }, coloured(line), '\n')));
    } else {
      pre.replaceChildren(...(isText ? [part] : coloured(part)));
    }
  };
  show(!folded);
  const box = h('div', { class: 'block', 'data-own': true, 'data-key': 'json-' + hash(source) }, pre);
  if (folded) {
    const closed = `Show all (${lines.length} lines, ${bytes(source.length)})`;
    let all = false;
    box.append(button(closed, (e) => {
      all = !all;
      show(all);
      e.currentTarget.textContent = all ? 'Show less' : closed;
    }, { class: 'quiet' }));
  }
  if (cut !== source) {
    box.append(h('p', { class: 'note' }, `The first ${bytes(mostShown)} of ${bytes(source.length)}. `, raw && h('a', { href: raw }, 'All of it as JSON')));
  }
  return box;
}

// hash tells texts apart, so that what is the same is left as it is.
function hash(s) {
  let n = 5381;
  for (let i = 0; i < s.length; i++) n = (n * 33 + s.charCodeAt(i)) | 0;
  return `${s.length}-${n}`;
}

// after shows an event after a transform; lines that are not in the event
// before it are marked.
export function after(value, before) {
  const trim = (line) => line.trim().replace(/,$/, '');
  const known = new Set(JSON.stringify(before, null, 2).split('\n').map(trim));
  return block(value, { mark: (line) => !known.has(trim(line)) });
}

// plain are the texts that need no quotes: words, paths, and sizes such as 30s.
const plain = /^(?:[A-Za-z_/][A-Za-z0-9_./@$+-]*|[1-9]\d*[A-DF-Za-df-z][A-Za-z]*(?:\/[a-z]+)?)$/;
const reserved = /^(?:true|false|null|yes|no|on|off|y|n)$/i;
// A text of several lines stands as it is, if that keeps every character.
const lines = /^\S[^\t\r]*\S$/;

function scalar(v, indent) {
  if (typeof v !== 'string') return JSON.stringify(v);
  if (v.includes('\n') && lines.test(v)) return '|-\n' + v.split('\n').map((l) => l && '  '.repeat(indent) + l).join('\n');
  return plain.test(v) && !reserved.test(v) ? v : JSON.stringify(v);
}

// yaml is a value in the form of YAML.
export function yaml(v, indent = 0) {
  const pad = '  '.repeat(indent);
  const nested = (x) => x !== null && typeof x === 'object' && !JSON.isRawJSON?.(x) && Object.keys(x).length > 0;
  if (Array.isArray(v)) {
    return v.map((x) => (nested(x) ? `${pad}- ${yaml(x, indent + 1).trimStart()}` : `${pad}- ${scalar(x, indent + 1)}`)).join('\n');
  }
  if (!nested(v)) return pad + scalar(v, indent + 1);
  return Object.entries(v).map(([k, x]) => {
    const key = plain.test(k) && !reserved.test(k) ? k : JSON.stringify(k);
    return nested(x) ? `${pad}${key}:\n${yaml(x, indent + 1)}` : `${pad}${key}: ${scalar(x, indent + 1)}`;
  }).join('\n');
}
