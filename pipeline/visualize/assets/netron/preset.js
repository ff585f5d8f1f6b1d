// Runs before Netron, which it sets up through what a browser gives every page and through the
// global `__view__`. Not part of Netron. The graphs it can show are in models.js.

(() => {
    'use strict';

    const READABLE = 0.7; // the smallest zoom at which the text in a node can be read
    const graft = window.__graft__;
    const asked = new URLSearchParams(window.location.search);
    const key = Object.hasOwn(graft.models, asked.get('model')) ? asked.get('model') : null;
    const model = graft.models[key || Object.keys(graft.models)[0]];
    const compares = asked.has('compare'); // beside another graph, on a page with a legend

    // Netron asks to accept cookies and telemetry. Here it sends none, so there is nothing to ask.
    document.cookie = 'consent=1; SameSite=Strict; Max-Age=31536000';

    // Show attributes, so that an adapter says its rank in the graph. Once: what the user then
    // chooses in Netron's menu stays.
    try {
        if (!localStorage.getItem('preset')) {
            localStorage.setItem('options', JSON.stringify({ attributes: true }));
            localStorage.setItem('preset', 'done');
        }
    } catch {
        // the browser keeps no settings for this page
    }

    for (const [name, content] of [['file', model.file], ['name', model.title]]) {
        const meta = document.createElement('meta');
        meta.name = name;
        meta.content = content;
        document.head.append(meta);
    }

    const paint = () => {
        // In Netron's own sheet, whose rules go along when it exports a picture.
        const sheet = Array.from(document.styleSheets).find((each) => each.href.endsWith('/grapher.css'));
        const add = (nodes, colour) => sheet.insertRule(
            `g.graph-node${nodes} > g.node-item:not(:hover) > path { fill: ${colour}; }`,
            sheet.cssRules.length
        );
        if (compares) {
            add('', graft.untouched.colour);
        }
        for (const mark of model.marks) {
            add(`:is(${mark.nodes.map((name) => `#node-name-${CSS.escape(name)}`).join()})`, mark.colour);
        }
    };

    const addLegend = () => {
        const box = document.createElement('div');
        box.className = 'legend';
        for (const { colour, text } of model.marks) {
            const line = document.createElement('div');
            const swatch = document.createElement('span');
            swatch.style.background = colour;
            line.append(swatch, text);
            box.append(line);
        }
        document.body.append(box);
    };

    const marked = model.marks.flatMap((mark) => mark.nodes);

    // Zoom out until the whole graph is in sight, or to the last zoom that can be read; of what
    // then is not in sight, show the inputs, or else the first node that stands out.
    const fit = (view) => {
        const target = document.getElementById('target');
        const canvas = document.getElementById('canvas');
        const tall = target.clientHeight / Number(canvas.getAttribute('height'));
        const wide = target.clientWidth / Number(canvas.getAttribute('width'));
        view.target.zoom = Math.max(READABLE, Math.min(1, tall, wide));
        target.scrollTop = 0; // where the inputs are
        const pane = target.getBoundingClientRect();
        const [first] = marked.map((name) => document.getElementById(`node-name-${name}`)).filter(Boolean)
            .map((node) => node.getBoundingClientRect()).sort((a, b) => a.top - b.top);
        if (first && (first.left < pane.left || first.right > pane.right)) {
            target.scrollLeft += (first.left + first.right) / 2 - (pane.left + pane.right) / 2;
        }
        if (first && first.top > pane.bottom) {
            target.scrollTop += first.top - (pane.top + pane.bottom) / 2;
        }
    };

    const isGraph = (node) => node.type && Array.isArray(node.type.nodes);

    // The nodes to open, outermost first, to get to the node of that name; the last is the node.
    const pathTo = (name, graph, seen = new Set()) => {
        const found = graph.nodes.find((node) => node.name === name);
        if (found) {
            return [found];
        }
        for (const node of graph.nodes) {
            if (isGraph(node) && !seen.has(node.type)) {
                seen.add(node.type);
                const rest = pathTo(name, node.type, seen);
                if (rest) {
                    return [node, ...rest];
                }
            }
        }
        return null;
    };

    // Netron keeps the levels that are open as a stack, innermost first.
    const level = (graph, name) => {
        const signatures = graph.signatures;
        const signature = Array.isArray(signatures) && signatures.length > 0 ? signatures[0] : null;
        return { target: graph, signature, opened: name };
    };

    // The names of the nodes that were opened to get here, outermost first.
    const opened = (view) => view._path.slice(0, -1).reverse().map((each) => each.opened);

    // The stack with these nodes opened from the top, as far as they exist and can be opened.
    const stackFor = (view, names, stack = view._path) => {
        const now = Array.from(stack).reverse();
        const levels = [now[0]];
        for (const [index, name] of names.entries()) {
            const open = now[index + 1];
            if (now[index] === levels[index] && open && open.opened === name) {
                levels.push(open);
                continue;
            }
            const node = levels[index].target.nodes.find((each) => each.name === name);
            if (!node || !isGraph(node)) {
                break;
            }
            levels.push(level(node.type, name));
        }
        return levels.reverse();
    };

    // Beside another graph there is no room for the side bar.
    const mark = (view, node) => view.target.scrollTo(
        compares ? view.target.select([node], 'target') : view.target.activate(node, 'target'), 'instant'
    );

    // Show the node of that name at its level, or the top level if there is no name.
    const select = async (view, name) => {
        const top = view._path[view._path.length - 1];
        const path = name ? pathTo(name, top.target) : [];
        if (!path) {
            await view.host.message(`This graph has no node '${name}'.`, null, 'OK');
            return;
        }
        const node = path.pop();
        const stack = stackFor(view, path.map((each) => each.name));
        if (stack[0] !== view._path[0]) {
            await view._updateTarget(view._model, stack);
        }
        if (node) {
            mark(view, node);
        }
    };

    const setUp = (view) => {
        let first = true;
        const update = view._updatePath.bind(view);
        view._updatePath = async (model, stack) => {
            const name = first && stack.length === 1 ? asked.get('node') : null;
            const path = name ? pathTo(name, stack[0].target) : null;
            if (path) { // straight to the level of the node, without drawing those above
                stack = stackFor(view, path.slice(0, -1).map((each) => each.name), stack);
            }
            stack.forEach((each, index) => {
                const outer = stack[index + 1];
                if (outer && outer.state && outer.state.context && !each.opened) {
                    each.opened = outer.state.context.name;
                }
            });
            await update(model, stack);
            if (!view.target) {
                return;
            }
            if (!stack[0].state) {
                fit(view);
            }
            if (first) {
                first = false;
                // When it has opened a file Netron closes the side bar once more, still in this task.
                window.setTimeout(() => {
                    if (path) {
                        mark(view, path[path.length - 1]);
                    } else if (name) {
                        select(view, name);
                    }
                    document.documentElement.dataset.drawn = String(Math.round(performance.now()));
                    graft.ready(view);
                    graft.changed(view);
                });
                return;
            }
            graft.changed(view);
        };
    };

    Object.assign(graft, { opened, pathTo, select, stackFor, ready: () => {}, changed: () => {} });
    let current = null;
    Object.defineProperty(window, '__view__', {
        get: () => current,
        set: (view) => {
            current = view;
            setUp(view);
        }
    });
    document.addEventListener('DOMContentLoaded', () => {
        paint();
        if (!compares) {
            addLegend();
        }
    });
})();
