// Windows of [KH, KW] taps over an image [H, W], at places [OH, OW]: src/ops/conv/window.rs.
override H: u32; override W: u32; override OH: u32; override OW: u32; override KH: u32; override KW: u32;
override SH: u32; override SW: u32; override PH: u32; override PW: u32;
