// Lets the page around this one lead it: open a node, or follow another graph. Runs after
// preset.js, before Netron. Not part of Netron.

(() => {
    'use strict';

    const graft = window.__graft__;
    const around = window.parent;
    if (around === window) {
        return;
    }

    const ANCHORS = 8;
    const tell = (message) => around.postMessage({ graft: true, ...message }, window.location.origin);
    const middleOf = (box) => ({ x: box.left + box.width / 2, y: box.top + box.height / 2 });
    const headOf = (box) => ({ x: box.left + box.width / 2, y: box.top }); // two need not be equally tall

    // Where the nodes nearest to the middle of the window are, from there: the other graph has
    // most of them too, elsewhere.
    const anchors = () => {
        const middle = middleOf(document.getElementById('target').getBoundingClientRect());
        return Array.from(document.querySelectorAll('.graph-node[id^="node-name-"]'), (node) => {
            const at = headOf(node.getBoundingClientRect());
            return { id: node.id, x: at.x - middle.x, y: at.y - middle.y };
        }).sort((a, b) => Math.hypot(a.x, a.y) - Math.hypot(b.x, b.y)).slice(0, ANCHORS);
    };

    let due = false;
    const tellWhere = (view) => {
        if (due) {
            return;
        }
        due = true;
        requestAnimationFrame(() => {
            due = false;
            if (view.target) {
                tell({ is: 'at', path: graft.opened(view), zoom: view.target.zoom, anchors: anchors() });
            }
        });
    };

    const place = (view, wanted) => {
        view.target.zoom = wanted.zoom;
        const target = document.getElementById('target');
        const anchor = wanted.anchors.find(({ id }) => document.getElementById(id));
        if (anchor) {
            const middle = middleOf(target.getBoundingClientRect());
            const at = headOf(document.getElementById(anchor.id).getBoundingClientRect());
            target.scrollLeft += at.x - middle.x - anchor.x;
            target.scrollTop += at.y - middle.y - anchor.y;
        }
    };

    // The way to the innermost of these nodes that is here and can be opened: another model may
    // have levels more or less around it.
    const wayTo = (view, names) => {
        const top = view._path[view._path.length - 1].target;
        for (let number = names.length; number > 0; number--) {
            const path = graft.pathTo(names[number - 1], top);
            if (path && path.every((node) => node.type && Array.isArray(node.type.nodes))) {
                return { way: path.map((node) => node.name), missing: names[number] || null };
            }
        }
        return { way: [], missing: names[0] || null };
    };

    const follow = async (view, wanted) => {
        const { way, missing } = wayTo(view, wanted.path);
        const stack = graft.stackFor(view, way);
        if (stack[0] !== view._path[0]) {
            await view._updateTarget(view._model, stack);
        }
        tell({ is: 'followed', missing });
        if (!missing && view.target) {
            place(view, wanted);
        }
    };

    // One thing after the other; of places to follow to, only the newest.
    let work = Promise.resolve();
    let newest = null;
    let turn = 0; // grows with each input here: what was sent before one is not followed after it
    const then = (task) => {
        work = work.then(task).catch(() => {}); // Netron tells of its errors itself
    };

    graft.ready = (view) => {
        const target = document.getElementById('target');
        target.addEventListener('scroll', () => tellWhere(view));
        const sizes = new ResizeObserver(() => tellWhere(view)); // zooming sizes the canvas
        graft.changed = () => {
            sizes.disconnect();
            sizes.observe(document.getElementById('canvas'));
            tellWhere(view);
        };
        for (const input of ['pointerdown', 'pointermove', 'wheel', 'keydown', 'touchstart']) {
            window.addEventListener(input, () => tell({ is: 'led', turn: ++turn }), { capture: true, passive: true });
        }
        window.addEventListener('message', (event) => {
            const said = event.data;
            if (event.origin !== window.location.origin || event.source !== around || !said.graft) {
                return;
            }
            if (said.is === 'select') {
                then(() => graft.select(view, said.node));
            } else if (said.is === 'follow') {
                newest = said;
                then(() => newest === said && said.turn === turn && follow(view, said));
            } else if (said.is === 'where') {
                then(() => tellWhere(view));
            }
        });
        tell({ is: 'ready' });
    };
})();
