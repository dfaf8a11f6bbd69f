"""The live panel of a session in a notebook: what waits, with buttons.

messages   what travels between kernel and page, each message a TypedDict; closed sets
snapshot   a session as one plain value, from memory
feed       when to look again, and on which thread
panel      the anywidget; panel.js and panel.css are its front end
"""
