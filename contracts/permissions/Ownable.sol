// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// A contract whose owner can pass it on or give it up.
abstract contract Ownable {
    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);

    error NotOwner();
    error OwnerIsZero();

    /// ERC-165 id of the three functions below.
    bytes4 internal constant OWNABLE_INTERFACE =
        this.owner.selector ^ this.renounceOwnership.selector ^ this.transferOwnership.selector;

    address private _owner;

    constructor() {
        _passOwnershipTo(msg.sender);
    }

    modifier onlyOwner() {
        if (msg.sender != _owner) revert NotOwner();
        _;
    }

    function owner() public view returns (address) {
        return _owner;
    }

    function transferOwnership(address newOwner) public onlyOwner {
        if (newOwner == address(0)) revert OwnerIsZero();
        _passOwnershipTo(newOwner);
    }

    function renounceOwnership() public onlyOwner {
        _passOwnershipTo(address(0));
    }

    function _passOwnershipTo(address newOwner) private {
        emit OwnershipTransferred(_owner, newOwner);
        _owner = newOwner;
    }
}
